"""Which options does a run have, and which values may they take?

One pydantic model per kind of run serves as the schema of TOML files and as the flags of the
command line; names are those of :func:`gigafcn.infer`.  An option that nobody set stays out of
:meth:`PlanOptions.arguments`, so that the library's own default holds.  What depends on the slide
or on the model (does the tile hold the halo?) is checked by the library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gigafcn.config import values

MODEL = Group("Model", sort_key=1)
SLIDE = Group("Slide", sort_key=2)
OUTPUT = Group("Output", sort_key=3)
WORK = Group("Work", sort_key=4)
CLUSTER = Group("Cluster", sort_key=4.5)

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


def flag(
    group: Group, metavar: str | None = None, short: str | None = None, *, signed: bool = False
) -> Parameter:
    """Describe a flag that takes one word of the command line, which may start with a minus."""
    return Parameter(
        alias=short,
        group=group,
        metavar=metavar,
        negative="",
        allow_leading_hyphen=signed,
        n_tokens=1,
        accepts_keys=False,
        json_list=False,
    )


def switch(group: Group) -> Parameter:
    """Describe a flag that is given or not, without a word of its own."""
    return Parameter(group=group, negative="", show_default=False)


class PlanOptions(BaseModel):
    """What fixes the numbers of a run and how its work is divided."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: Annotated[str | None, flag(MODEL, "SPEC", "-m")] = None
    """The model: the name of a bundled one or a file. If unset, $GIGAFCN_MODEL, else the bundled
    demonstration model."""

    trust: Annotated[bool, switch(MODEL)] = False
    """Load a model whose loading can run code, which can do anything: Python files, exported
    programs, TorchScript."""

    sha256: Annotated[str | None, Field(pattern=r"^[0-9A-Fa-f]{64}$"), flag(MODEL, "HEX")] = None
    """Load the model's file only if this is its sha256; then it needs no --trust."""

    allow_unexpected: Annotated[bool, switch(MODEL)] = False
    """Leave weights of a checkpoint out that the model has not."""

    activation: Annotated[Literal["none", "sigmoid", "softmax"] | None, flag(MODEL)] = None
    """What turns the model's output into scores. If unset: none if the model ends in one, else
    sigmoid for one class and softmax for more."""

    force_activation: Annotated[bool, switch(MODEL)] = False
    """Apply the activation to a model that ends in one already."""

    scale: Annotated[
        PositiveFloat | tuple[PositiveFloat, ...] | None,
        BeforeValidator(values.parse_number_or_list),
        flag(MODEL, "FACTOR,..."),
    ] = None
    """The model is fed (stored * scale - mean) / std; one factor for all channels or one per
    channel. If unset: 1/255 for 8-bit slides, 1/65535 for 16-bit, 1 for others."""

    mean: Annotated[
        tuple[float, ...] | None,
        BeforeValidator(values.parse_list),
        flag(MODEL, "M,...", signed=True),
    ] = None
    """Mean to subtract, one for all channels or one per channel."""

    std: Annotated[
        tuple[PositiveFloat, ...] | None,
        BeforeValidator(values.parse_list),
        flag(MODEL, "S,..."),
    ] = None
    """Standard deviation to divide by, one for all channels or one per channel."""

    classes: Annotated[
        tuple[str, ...] | None, BeforeValidator(values.parse_list), flag(OUTPUT, "NAME,...")
    ] = None
    """Classes whose scores are stored, by the model's names; or, for a model without names or to
    name them anew, a name for each class in its order. If unset: all."""

    output_name: Annotated[str | None, flag(MODEL, "NAME|INDEX")] = None
    """Which output of a model with several to map, by name or by index from 0."""

    mode: Annotated[Literal["exact", "blend", "patch"], flag(MODEL)] = "exact"
    """exact: what the model would say if the whole image fitted in memory. blend: a weighted mean
    of overlapping windows. patch: one px of the map for each window."""

    window: Annotated[
        Positive | tuple[Positive, Positive] | None,
        BeforeValidator(values.parse_pair),
        flag(MODEL, "PX|Y,X"),
    ] = None
    """Size of the windows of blend and patch, as in training. If unset, what the model states."""

    overlap: Annotated[float, Field(ge=0, lt=1), flag(MODEL, "PART")] = 0.25
    """Part of a window that it shares with the next; for blend."""

    step: Annotated[
        Positive | tuple[Positive, Positive] | None,
        BeforeValidator(values.parse_pair),
        flag(MODEL, "PX|Y,X"),
    ] = None
    """Px from one window to the next; for patch. If unset, the window."""

    blend_weights: Annotated[Literal["constant", "gaussian"], flag(MODEL)] = "constant"
    """How windows are weighted: constant, or gaussian: less towards their edges; for blend."""

    patch: Annotated[
        Positive | tuple[Positive, Positive] | None,
        BeforeValidator(values.parse_pair),
        flag(MODEL, "PX|Y,X"),
    ] = None
    """Size of the patches that a classifier was trained on; in exact mode it runs as a fully
    convolutional network. If unset, what the model states, else a guess, which is printed."""

    output_stride: Annotated[Positive | None, flag(MODEL, "PX")] = None
    """Px from one patch of a classifier to the next, in exact mode. If unset, the model's own
    stride, which any other must divide."""

    batch: Annotated[Positive | None, flag(WORK)] = None
    """Windows per call of the model in blend and patch. If unset, chosen for the device."""

    border: Annotated[Literal["cover", "valid"] | None, flag(MODEL)] = None
    """For models that lose a margin, for classifiers and for patch: mirror the image so that the
    map covers it, or write the smaller map with its offset. If unset: valid for classifiers and
    patch, else cover."""

    pad: Annotated[Literal["none", "period"] | None, flag(MODEL)] = None
    """Extend the image at right and below to a multiple of the model's period, or let the model see
    it as it is. If unset: period, where the model has one; refused where it is not possible."""

    region: Annotated[
        tuple[int, int, int, int] | None,
        BeforeValidator(values.parse_region),
        flag(SLIDE, "X,Y,W,H", signed=True),
    ] = None
    """Map just this part: left, top, width, height in px of level 0. Equal to the same part of
    the full map."""

    level: Annotated[int | None, Field(ge=0), flag(SLIDE)] = None
    """Pyramid level to map as it is, or to resample if --mpp is given too; 0 is the finest. If
    unset, the one that suits the model's mpp, or 0 if it states none."""

    channels: Annotated[
        tuple[Annotated[int, Field(ge=0)] | str, ...] | None,
        BeforeValidator(values.parse_channels),
        flag(SLIDE, "I|NAME,..."),
    ] = None
    """Channels of the slide to feed to the model, counted from 0 or by name, in this order."""

    plane: Annotated[
        dict[str, Annotated[int, Field(ge=0)]] | None,
        BeforeValidator(values.parse_plane),
        flag(SLIDE, "AXIS=I,..."),
    ] = None
    """Which plane of a stack to map, counted from 0, such as t=0,z=2."""

    image: Annotated[
        Annotated[int, Field(ge=0)] | Literal["all"] | None,
        BeforeValidator(values.parse_image),
        flag(SLIDE, "N|all"),
    ] = None
    """Which image to map of a file that holds several, by its number; all: a map of each. Labels,
    macros, overviews and thumbnails never are. If unset, the only one that is left."""

    levels_from: Annotated[Literal["sizes", "metadata"] | None, flag(SLIDE)] = None
    """What decides how large the px of coarser levels are, where their sizes and what the file
    says contradict each other. If unset, asked where it matters."""

    crop: Annotated[bool, Parameter(group=SLIDE, negative="--no-crop", show_default=False)] = True
    """Map the area that was scanned, where the slide names it; --no-crop maps the empty margins
    too."""

    orient: Annotated[bool, switch(SLIDE)] = False
    """Turn the picture as TIFF's or EXIF's orientation says. If unset, it is mapped as stored."""

    tissue: Annotated[str, flag(SLIDE, "none|auto|FILE")] = "none"
    """What to compute. none: everything. auto: what looks stained. Else a file: a mask of the
    whole slide (white, coloured or numbered, on black, index 0 or transparent ground), or polygons
    (.geojson, as QuPath exports them). The rest is neither read nor stored."""

    tissue_class: Annotated[
        tuple[str, ...] | None, BeforeValidator(values.parse_list), flag(SLIDE, "NAME,...")
    ] = None
    """Classes of polygons that are tissue. If unset: all but those that QuPath's users ignore
    (Ignore*, Artefact*, Background*), which are cut out of the others."""

    min_tissue: Annotated[float, Field(ge=0, le=1), flag(SLIDE, "PART")] = 0.1
    """In patch, with --tissue: a window is computed if at least this part of it is tissue; 0 takes
    each that holds any."""

    mpp: Annotated[
        PositiveFloat | tuple[PositiveFloat, PositiveFloat] | None,
        BeforeValidator(values.parse_pair),
        flag(MODEL, "UM|Y,X"),
    ] = None
    """Micrometres per px that the model wants; the nearest finer level is resampled to it. If
    unset, what the model states; if it states nothing, level 0 is mapped as it is."""

    mpp_tolerance: Annotated[float, Field(ge=0, lt=1), flag(MODEL, "PART")] = 0.02
    """A level whose px are off by no more than this part is not resampled."""

    slide_mpp: Annotated[
        PositiveFloat | tuple[PositiveFloat, PositiveFloat] | None,
        BeforeValidator(values.parse_pair),
        flag(SLIDE, "UM|Y,X"),
    ] = None
    """Micrometres per px at level 0; replaces what the slide says."""

    strict: Annotated[bool, switch(SLIDE)] = False
    """Fail where the slide cannot be read, instead of going on and listing the regions, and where
    its pixels look like none that the model takes, instead of warning."""

    full_hash: Annotated[bool, switch(SLIDE)] = False
    """Note the sha256 of the whole slide with the map, and compare it when the run is gone on
    with. If unset: OpenSlide's quick hash, or samples of large files."""

    dtype: Annotated[Literal["auto", "uint8", "float16", "float32"], flag(OUTPUT)] = "auto"
    """How scores are stored. auto: uint8 after sigmoid or softmax (255 means 1), else
    float32."""

    save: Annotated[Literal["both", "probabilities", "labels"], flag(OUTPUT)] = "both"
    """Store the scores and, where classes exclude each other, the most likely class of each
    pixel, taken before scores are rounded; or only one of the two."""

    save_mpp: Annotated[PositiveFloat | None, flag(OUTPUT, "UM")] = None
    """Micrometres per px of the stored map, which then holds means over blocks of as many whole px
    as come nearest, and the likeliest class of each mean. If unset: every px."""

    tile: Annotated[
        Positive | tuple[Positive, Positive] | None,
        BeforeValidator(values.parse_pair),
        flag(WORK, "PX|Y,X"),
    ] = None
    """Size of a tile, the unit of work, in px of the map; rounded up to whole chunks. If unset,
    planned from the memory."""

    strip: Annotated[Positive | None, flag(WORK, "PX")] = None
    """Rows of the map computed at one step inside a tile."""

    memory: Annotated[
        Positive | None, BeforeValidator(values.parse_bytes), flag(WORK, "AMOUNT")
    ] = None
    """Memory that the run may take, such as 4GiB; with --scheduler, each worker."""

    precision: Annotated[Literal["fp32", "fp64", "bf16", "fp16"], flag(WORK)] = "fp32"
    """Arithmetic of the model."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"), flag(WORK, "NAME")] = (
        "auto"
    )
    """auto, cpu, cuda, cuda:1 or mps. auto takes a GPU if there is one."""

    workers: Annotated[Positive | None, flag(WORK)] = None
    """Processes to start on this machine. If unset, one per GPU where there are several, else
    everything runs in this one."""

    verify: Annotated[bool, Parameter(group=WORK, negative="--no-verify", show_default=False)] = (
        True
    )
    """Before mapping in exact mode, try the model itself for some 2 s, once per model."""

    @model_validator(mode="after")
    def _normalisation_fits(self) -> PlanOptions:
        if self.mean is not None and self.std is not None:
            lengths = {len(self.mean), len(self.std)} - {1}
            if len(lengths) > 1:
                raise ValueError(
                    f"mean has {len(self.mean)} numbers and std {len(self.std)}; "
                    "give one number, or one per channel"
                )
        return self

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for :func:`gigafcn.infer` and :func:`gigafcn.plan_run`.

        Only what was set, without what names the input, the model and the output.  The region
        becomes a box (y0, x0, y1, x1).

        Examples
        --------
        >>> PlanOptions(region="10,20,300,400", tile="512,1024").arguments()
        {'region': (20, 10, 420, 310), 'tile': (512, 1024)}
        """
        chosen = self.model_dump(exclude_unset=True, exclude={"model", "output", "grace", "export"})
        if self.region is not None:
            x, y, width, height = self.region
            chosen["region"] = (y, x, y + height, x + width)
        return {name: value for name, value in chosen.items() if value is not None}


class InferOptions(PlanOptions):
    """What fixes a run, with the place where its map goes."""

    output: Annotated[Path | None, flag(OUTPUT, "PATH", "-o")] = None
    """Where the map goes: a name ending in .zarr is the map itself, any other a directory for it;
    s3://BUCKET/NAME too.
    If unset, SLIDE.zarr in the working directory."""

    export: Annotated[
        tuple[Literal["ome-tiff", "geojson", "png", "jpeg", "csv", "json"], ...] | None,
        BeforeValidator(values.parse_list),
        flag(OUTPUT, "FORMAT,..."),
    ] = None
    """Also write each map as ome-tiff, geojson, png, jpeg (a heat map of each class but the
    background), csv or json, beside it; gigafcn export has more options."""

    profile: Annotated[bool, switch(WORK)] = False
    """Write what each thread did when to OUT.zarr.run/profile.json, for https://ui.perfetto.dev."""

    scheduler: Annotated[str | None, flag(CLUSTER, "ADDRESS")] = None
    """Compute with the workers of the Dask scheduler at tcp://HOST:PORT or tls://HOST:PORT."""

    scheduler_file: Annotated[Path | None, flag(CLUSTER, "FILE")] = None
    """The same, with the address in a file that dask scheduler --scheduler-file wrote. If the file
    is not there yet, it is waited for."""

    tls_ca: Annotated[Path | None, flag(CLUSTER, "FILE")] = None
    """Certificate (PEM) of the authority of a tls:// cluster. If unset, as Dask is configured."""

    tls_cert: Annotated[Path | None, flag(CLUSTER, "FILE")] = None
    """Certificate (PEM) to show to it."""

    tls_key: Annotated[Path | None, flag(CLUSTER, "FILE")] = None
    """That certificate's key (PEM). If unset, it is in the same file."""

    insecure: Annotated[bool, switch(CLUSTER)] = False
    """Speak to a scheduler on another host without TLS: whoever reaches it can run code on all of
    its workers."""

    dashboard: Annotated[bool, switch(CLUSTER)] = False
    """Show Dask's dashboard of this run, to this machine only; needs bokeh."""

    resume: Annotated[bool, switch(OUTPUT)] = False
    """Only go on with an unfinished map, never begin one. The same command does so in any case."""

    overwrite: Annotated[bool, switch(OUTPUT)] = False
    """Replace a map that gigafcn wrote before; nothing else is ever replaced."""

    grace: Annotated[float, Field(ge=0), flag(WORK, "SECONDS")] = 20.0
    """Seconds that tiles under way have after SIGTERM or Ctrl-C; no more are begun. 0 stops at
    once."""

    deidentify: Annotated[bool, switch(OUTPUT)] = False
    """Call slides by a keyed hash of their file names, in all that is written and said."""

    deidentify_key: Annotated[Path | None, flag(OUTPUT, "FILE")] = None
    """File with the key of these hashes. If unset, $GIGAFCN_DEIDENTIFY_KEY, else a random key that
    is kept in this user's cache alone."""


def merged(config: InferOptions, flags: PlanOptions) -> InferOptions:
    """Options of a file, overridden by those given as flags.

    Examples
    --------
    >>> merged(InferOptions(tile=512, strip=64), InferOptions(tile=1024)).arguments()
    {'tile': 1024, 'strip': 64}
    """
    return InferOptions.model_validate(
        config.model_dump(exclude_unset=True) | flags.model_dump(exclude_unset=True)
    )
