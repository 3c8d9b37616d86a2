"""A wrong command line ends with code 2 and one line that says what to do."""

from __future__ import annotations

import pytest

from gigafcn.cli import main


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("infer a.svs --tiel 512", "unknown option: --tiel. Did you mean --tile?"),
        ("infer a.svs --no-overwrite", "unknown option: --no-overwrite."),
        ("infr a.svs", 'unknown command "infr". Did you mean "infer"?'),
        ("infer", "no slide given; usage: gigafcn infer SLIDE... [-o OUT]"),
        ("plan", "SLIDE is missing; see gigafcn plan --help"),
        ("inspect", "MODEL is missing; see gigafcn inspect --help"),
        ("plan a.svs b.svs", "unexpected argument 'b.svs'"),
        ("plan a.svs -o out.zarr", "unknown option: -o"),
        ("infer a.svs --tile", "--tile needs a value; see gigafcn infer --help"),
        ("infer a.svs --tile 512,x", "--tile: expected a whole number, got 'x'"),
        ("infer a.svs --tile -5", "--tile: must be more than 0, got -5"),
        ("infer a.svs --strip 1 --strip 2", "--strip specified multiple times"),
        ("infer a.svs --dtype int8", "--dtype: 'int8' is not one of 'auto', 'uint8'"),
        ("infer a.svs --save all", "--save: 'all' is not one of 'both', 'probabilities' or"),
        ("infer a.svs --memory much", "--memory: 'much' is no amount of memory"),
        ("infer a.svs --region 1,2,3", "--region: expected X,Y,W,H in level-0 px"),
        ("infer a.svs --region -1,0,9,9", "--region: X and Y count from the image's top left"),
        ("infer a.svs --slide-mpp 0", "--slide-mpp: must be more than 0, got 0"),
        ("infer a.svs --device gpu", "--device: 'gpu' is not one of"),
        ("infer a.svs --mean 1,2,3 --std 1,2", "mean has 3 numbers and std 2"),
        ("infer a.svs --config nosuch.toml", "--config nosuch.toml: cannot be read"),
        ("infer a.svs b.svs -o x.zarr -m net", "-o x.zarr names one map but 2 slides"),
        ("infer a.svs b.svs", "2 slides but no model; give --model"),
        ("demo --size 100", "--size 100 px is too small for a slide; the least is 512"),
        ("inspect net --size big", 'invalid value for --size: unable to convert "big" into int'),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(
    words: str,
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GIGAFCN_MODEL", raising=False)
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gigafcn: error: ")
    assert problem in err
    assert err.count("\n") == 1
