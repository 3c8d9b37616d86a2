"""Composition root of inference: a slide, a model and options in, an exact map out."""

from gigafcn.run.inference import infer
from gigafcn.run.mapping import Result
from gigafcn.run.report import PlanReport, plan_run

__all__ = ["PlanReport", "Result", "infer", "plan_run"]
