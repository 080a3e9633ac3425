"""Each operation as statements in C. Value k of the network is the array ``vK``, its state begins
at ``s``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template

from ssmbench.exporters.c.arrays import Constant, number
from ssmbench.program import Operation


@dataclass(frozen=True)
class Place:
    """An operation with the names of its arrays, its result and its inputs."""

    operation: Operation
    arrays: Mapping[str, Constant]
    result: str
    inputs: tuple[str, ...]
    widths: tuple[int, ...]


def statements(place: Place) -> str:
    """The statements that compute the result."""
    return _STATEMENTS[place.operation.kind](place)


def _fill(text: str, **words: object) -> str:
    return Template(text).substitute(words)


def _added(place: Place, name: str, index: str) -> str:
    """The addition of an optional array."""
    constant = place.arrays.get(name)
    return "" if constant is None else f" + {constant.at(index)}"


def _affine(place: Place) -> str:
    weight = place.arrays["weight"]
    return _fill(
        """\
for (i = 0; i < $rows; ++i) {
  sum = 0.0f;
  for (j = 0; j < $columns; ++j) sum += $entry * $x[j];
  $y[i] = sum$scale$bias;
}
""",
        rows=place.operation.width,
        columns=place.widths[0],
        entry=weight.at(f"i * {place.widths[0]} + j"),
        x=place.inputs[0],
        y=place.result,
        scale=weight.scale("i"),
        bias=_added(place, "bias", "i"),
    )


def _lookup(place: Place) -> str:
    table, width = place.arrays["table"], place.operation.width
    entry = table.at(f"token * {width} + i") + table.scale("token")
    return f"for (i = 0; i < {width}; ++i) {place.result}[i] = {entry};\n"


def _each(expression: Callable[[Place], str]) -> Callable[[Place], str]:
    """A loop over the numbers of the result."""

    def statement(place: Place) -> str:
        text = expression(place)
        return f"for (i = 0; i < {place.operation.width}; ++i) {place.result}[i] = {text};\n"

    return statement


def _pointwise(place: Place) -> str:
    return f"{place.operation.options['function']}_({place.inputs[0]}[i])"


def _scale(place: Place) -> str:
    factor = place.arrays["factor"].at("i")
    return f"{place.inputs[0]}[i] * {factor}{_added(place, 'offset', 'i')}"


def _slice(place: Place) -> str:
    start, step = (place.operation.options[key] for key in ("start", "step"))
    return f"{place.inputs[0]}[{start} + i * {step}]"


def _concat(place: Place) -> str:
    text, start = "", 0
    for name, width in zip(place.inputs, place.widths, strict=True):
        text += f"for (i = 0; i < {width}; ++i) {place.result}[{start} + i] = {name}[i];\n"
        start += width
    return text


def _sort_pairs(place: Place) -> str:
    width = place.operation.width
    last = f"{place.result}[{width - 1}] = {place.inputs[0]}[{width - 1}];\n" if width % 2 else ""
    return last + _fill(
        """\
for (i = 0; i + 1 < $width; i += 2) {
  const float a = $x[i], b = $x[i + 1];
  $y[i] = a > b ? a : b;
  $y[i + 1] = a > b ? b : a;
}
""",
        width=width,
        x=place.inputs[0],
        y=place.result,
    )


def _normalised(place: Place, centre: str) -> str:
    return _fill(
        """\
${centre}sum = 0.0f;
for (i = 0; i < $width; ++i) sum += ($x[i]$minus) * ($x[i]$minus);
scale = 1.0f / sqrtf(sum / $width.0f + $eps);
for (i = 0; i < $width; ++i) $y[i] = ($x[i]$minus) * scale;
""",
        centre=centre,
        minus=" - mean" if centre else "",
        width=place.operation.width,
        x=place.inputs[0],
        y=place.result,
        eps=number(place.operation.options["eps"]),
    )


def _standardise(place: Place) -> str:
    width, x = place.operation.width, place.inputs[0]
    total = f"sum = 0.0f;\nfor (i = 0; i < {width}; ++i) sum += {x}[i];\n"
    return _normalised(place, f"{total}mean = sum / {width}.0f;\n")


def _root_mean_square(place: Place) -> str:
    return _normalised(place, "")


def _sizes(place: Place) -> dict[str, int]:
    """Heads, and states, inputs and outputs of each."""
    key = "lam_re" if "lam_re" in place.arrays else "A"
    heads, outputs, inputs = place.arrays["D"].stored.codes.shape
    states = place.arrays[key].stored.codes.shape[1]
    return {"H": heads, "N": states, "m": inputs, "p": outputs}


def _output(place: Place, sizes: dict[str, int], products: str) -> str:
    """y = C x + D u of head h; ``products``: statements that add C x to ``sum``."""
    return _fill(
        """\
  for (i = 0; i < $p; ++i) {
    sum = 0.0f;
$products    for (j = 0; j < $m; ++j) sum += $D * $u[h * $m + j];
    $y[h * $p + i] = sum;
  }
""",
        **sizes,
        products=products,
        D=place.arrays["D"].at(_fill("(h * $p + i) * $m + j", **sizes)),
        u=place.inputs[0],
        y=place.result,
    )


def _product(constant: Constant, sizes: dict[str, int], state: str, sign: str) -> str:
    """Statements that add a part of C x of head h to ``sum``."""
    row = _fill("h * $p + i", **sizes)
    return _fill(
        """\
    part = 0.0f;
    for (j = 0; j < $N; ++j) part += $C * $state;
    sum $sign= part$scale;
""",
        **sizes,
        C=constant.at(f"({row}) * {sizes['N']} + j"),
        scale=constant.scale(row),
        state=state,
        sign=sign,
    )


def _drive(constant: Constant, sizes: dict[str, int], u: str, name: str) -> str:
    """Statements that set ``name`` to B u of state i of head h."""
    row = _fill("h * $N + i", **sizes)
    return _fill(
        """\
    $name = 0.0f;
    for (j = 0; j < $m; ++j) $name += $B * $u[h * $m + j];
""",
        **sizes,
        name=name,
        u=u,
        B=constant.at(f"({row}) * {sizes['m']} + j"),
    ) + (f"    {name} = {name}{constant.scale(row)};\n" if constant.scaled else "")


def _diagonal(place: Place) -> str:
    w, sizes = place.arrays, _sizes(place)
    at, whole = f"h * {sizes['N']} + ", sizes["H"] * sizes["N"]
    imaginary = "lam_im" in w
    C_x = _product(w["C_re"], sizes, f"s[{at}j]", "+")
    update = _drive(w["B_re"], sizes, place.inputs[0], "re")
    if imaginary:
        C_x += _product(w["C_im"], sizes, f"s[{whole} + {at}j]", "-")
        update += _drive(w["B_im"], sizes, place.inputs[0], "im")
    update += _fill(
        _ROTATE if imaginary else "    s[k] = $lam_re * s[k] + re;\n",
        lam_re=w["lam_re"].at("k"),
        lam_im=w["lam_im"].at("k") if imaginary else "",
        whole=whole,
    )
    head = f"for (h = 0; h < {sizes['H']}; ++h) {{\n" + _output(place, sizes, C_x)
    states = f"  for (i = 0; i < {sizes['N']}; ++i) {{\n    const int k = {at}i;\n"
    return head + states + update + "  }\n}\n"


_ROTATE = """\
    re += $lam_re * s[k] - $lam_im * s[$whole + k];
    s[$whole + k] = $lam_re * s[$whole + k] + $lam_im * s[k] + im;
    s[k] = re;
"""


def _dense(place: Place) -> str:
    w, sizes = place.arrays, _sizes(place)
    N = sizes["N"]
    C_x = _product(w["C"], sizes, f"s[h * {N} + j]", "+")
    update = _drive(w["B"], sizes, place.inputs[0], "re") + _fill(
        """\
    for (j = 0; j < $N; ++j) re += $A * s[h * $N + j];
    next[i] = re;
""",
        N=N,
        A=w["A"].at(f"(h * {N} + i) * {N} + j"),
    )
    return (
        f"for (h = 0; h < {sizes['H']}; ++h) {{\n  float next[{N}];\n"
        + _output(place, sizes, C_x)
        + f"  for (i = 0; i < {N}; ++i) {{\n{update}  }}\n"
        + f"  for (i = 0; i < {N}; ++i) s[h * {N} + i] = next[i];\n}}\n"
    )


def _convolution(place: Place) -> str:
    weight, width = place.arrays["weight"], place.operation.width
    kernel = weight.stored.codes.shape[1]
    return _fill(
        """\
for (i = 0; i < $width; ++i) {
  sum = $last * $x[i]$bias;
  for (j = 0; j < $before; ++j) sum += $entry * s[j * $width + i];
  $y[i] = sum;
  for (j = 0; j + 1 < $before; ++j) s[j * $width + i] = s[(j + 1) * $width + i];
  $keep}
""",
        width=width,
        before=kernel - 1,
        last=weight.at(f"i * {kernel} + {kernel - 1}"),
        entry=weight.at(f"i * {kernel} + j"),
        x=place.inputs[0],
        y=place.result,
        bias=_added(place, "bias", "i"),
        keep=f"s[{kernel - 2} * {width} + i] = {place.inputs[0]}[i];\n" if kernel > 1 else "",
    )


def _unit(place: Place) -> str:
    return _fill(
        """\
for (i = 0; i < $width; i += $size) {
  sum = 0.0f;
  for (j = i; j < i + $size; ++j) sum += $x[j] * $x[j];
  scale = 1.0f / (sqrtf(sum) + 1e-6f);
  for (j = i; j < i + $size; ++j) $y[j] = $x[j] * scale;
}
""",
        width=place.operation.width,
        size=place.operation.options["size"],
        x=place.inputs[0],
        y=place.result,
    )


def _sum_groups(place: Place) -> str:
    return _fill(
        """\
for (i = 0; i < $width; ++i) {
  $y[i] = 0.0f;
  for (j = 0; j < $size; ++j) $y[i] += $x[i * $size + j];
}
""",
        width=place.operation.width,
        size=place.operation.options["size"],
        x=place.inputs[0],
        y=place.result,
    )


def _varying(place: Place) -> str:
    u, lam, B, C, D = place.inputs
    groups = place.operation.options["groups"]
    return _fill(
        """\
for (h = 0; h < $width; ++h) {
  const int g = h / $channels;
  sum = $D[g] * $u[h];
  for (i = 0; i < $N; ++i) {
    sum += $C[g * $N + i] * s[h * $N + i];
    s[h * $N + i] = $lam[g * $N + i] * s[h * $N + i] + $B[g * $N + i] * $u[h];
  }
  $y[h] = sum;
}
""",
        width=place.operation.width,
        channels=place.operation.width // groups,
        N=place.widths[1] // groups,
        u=u,
        lam=lam,
        B=B,
        C=C,
        D=D,
        y=place.result,
    )


def _mean(place: Place) -> str:
    unit = place.operation.options["how"] == "unit"
    last = 2 * place.operation.width
    return _fill(
        """\
s[$last] += 1.0f;
for (i = 0; i < $width; ++i) {
  mean = s[i];
  part = ($x[i] - mean) / s[$last] + s[$width + i];
  s[i] = mean + part;
  s[$width + i] = part - (s[i] - mean); /* what rounding has lost */
  $y[i] = s[i]$unit;
}
""",
        width=place.operation.width,
        x=place.inputs[0],
        y=place.result,
        last=last,
        unit=f" * sqrtf(s[{last}])" if unit else "",
    )


_STATEMENTS: dict[str, Callable[[Place], str]] = {
    "affine": _affine,
    "lookup": _lookup,
    "pointwise": _each(_pointwise),
    "scale": _each(_scale),
    "add": _each(lambda place: f"{place.inputs[0]}[i] + {place.inputs[1]}[i]"),
    "multiply": _each(lambda place: f"{place.inputs[0]}[i] * {place.inputs[1]}[i]"),
    "slice": _each(_slice),
    "concat": _concat,
    "sort_pairs": _sort_pairs,
    "standardise": _standardise,
    "root_mean_square": _root_mean_square,
    "diagonal": _diagonal,
    "dense": _dense,
    "unit": _unit,
    "sum_groups": _sum_groups,
    "varying": _varying,
    "convolution": _convolution,
    "mean": _mean,
}
#: The kinds of operation that have a form in C.
KINDS = tuple(_STATEMENTS)
