"""The text of the C file: constants, functions, and the step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ssmbench import jsonio
from ssmbench.errors import require
from ssmbench.exporters.c.arrays import Constant
from ssmbench.exporters.c.operations import KINDS, Place, statements
from ssmbench.program import Program, Stored

#: Begins and ends the JSON text of the metadata.
BEGIN, END = "ssmbench metadata: ", "\nend of metadata"

_HEAD = """\
/* $name: a network exported by ssmbench, one step at a time. C99, no other files, no malloc; link
   with the mathematics library (-lm).

     ${name}_state state;
     float y[${NAME}_OUTPUTS];
     ${name}_init(&state);
     ${name}_step(&state, u, y);     for every step: $u
     ${name}_run(&state, u, steps, y);    several steps: $ys

   Both functions give 0$refusal. For its declarations alone, in another file:

     #define ${NAME}_DECLARATIONS
     #include "$name.c"

$begin$metadata$end */

#ifndef ${NAME}_DECLARED
#define ${NAME}_DECLARED

#define ${NAME}_INPUTS $width
#define ${NAME}_OUTPUTS $outputs
#define ${NAME}_STATES $states
$vocabulary
typedef struct {
  float values[$kept];
} ${name}_state;

#ifdef __cplusplus
extern "C" {
#endif
void ${name}_init(${name}_state *state);
int ${name}_step(${name}_state *state, const $type *u, float *y);
int ${name}_run(${name}_state *state, const $type *u, long steps, float *y);
#ifdef __cplusplus
}
#endif

#endif

#ifndef ${NAME}_DECLARATIONS

"""

_TAIL = """
int ${name}_run(${name}_state *state, const $type *u, long steps, float *y) {
  long k;
  for (k = 0; k < steps; ++k) {
    const int failed = ${name}_step(state, u + k * ${NAME}_INPUTS, y$advance);
    if (failed) return failed;
  }
  return 0;
}

#endif
"""

#: Functions that only some networks call.
_FUNCTIONS = {
    "half": """\
static float half(unsigned short bits) {
  const int exponent = (bits >> 10) & 31;
  const float fraction = (float)(bits & 1023);
  const float size =
    exponent ? ldexpf(fraction + 1024.0f, exponent - 25) : ldexpf(fraction, -24);
  return bits & 0x8000 ? -size : size;
}
""",
    "cos_": "static float cos_(float x) { return cosf(x); }\n",
    "sin_": "static float sin_(float x) { return sinf(x); }\n",
    "sigmoid_": "static float sigmoid_(float x) { return 1.0f / (1.0f + expf(-x)); }\n",
    "gelu_": """\
static float gelu_(float x) { return 0.5f * x * (1.0f + erff(x * 0.707106781f)); }
""",
    "gelu_tanh_": """\
static float gelu_tanh_(float x) {
  return 0.5f * x * (1.0f + tanhf(0.797884561f * (x + 0.044715f * x * x * x)));
}
""",
    "relu_": "static float relu_(float x) { return x > 0.0f ? x : 0.0f; }\n",
    "silu_": "static float silu_(float x) { return x / (1.0f + expf(-x)); }\n",
    "tanh_": "static float tanh_(float x) { return tanhf(x); }\n",
}


def source(program: Program, metadata: Mapping[str, Any], name: str) -> str:
    """The C file of a network called ``name``.

    Raises:
        UsageError: an operation has no form in C.
    """
    for operation in program.operations:
        require(
            operation.kind in KINDS,
            f"export: the operation {operation.kind} has no form in C; allowed: {', '.join(KINDS)}",
        )
    words = _words(program, metadata, name)
    places = list(_places(program))
    constants = [Constant("initial", Stored(program.initial))] if program.initial.any() else []
    constants += [constant for place in places for constant in place.arrays.values()]
    step = "\n".join([_init(program, name), *_step(program, name, places)])
    tables = "\n".join(constant.definition() for constant in constants)
    used = "\n".join(text for key, text in _FUNCTIONS.items() if re.search(rf"\b{key}\(", step))
    head = _includes(program) + "\n".join(filter(None, [tables, used]))
    return _filled(_HEAD, words) + head + "\n" + step + _filled(_TAIL, words)


def _includes(program: Program) -> str:
    """Headers, and a check that int holds every index: with 16 bits it may not."""
    sizes = [array.size for array in program.arrays().values()] + program.widths()
    check = f"#if INT_MAX < {max(sizes)}\n#error the indices of this network exceed int\n#endif\n"
    return f"#include <limits.h>\n#include <math.h>\n\n{check}\n"


def metadata_of(text: str) -> dict[str, Any]:
    """The metadata in a C file that :func:`source` wrote.

    Raises:
        ValueError: there are none.
    """
    begin = text.index(BEGIN) + len(BEGIN)
    return jsonio.loads(text[begin : text.index(END, begin)])


def _filled(text: str, words: Mapping[str, object]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda found: str(words[found[1]]), text)


def _words(program: Program, metadata: Mapping[str, Any], name: str) -> dict[str, object]:
    tokens, per_step = program.vocabulary is not None, program.per_step
    # no slash, which could begin or end a comment
    text = jsonio.dumps(metadata).replace("/", "\\u002f")
    return {
        "name": name,
        "NAME": name.upper(),
        "begin": BEGIN,
        "metadata": text,
        "end": END,
        "width": program.width,
        "outputs": program.outputs,
        "states": program.states,
        "vocabulary": f"#define {name.upper()}_VOCABULARY {program.vocabulary}\n" if tokens else "",
        "kept": max(1, program.states),
        "type": "int" if tokens else "float",
        "u": "u is one token" if tokens else f"u has {program.width} numbers",
        "ys": "all predictions, one after another" if per_step else "y is the last prediction",
        "refusal": f", or -1 for a token outside 0..{(program.vocabulary or 0) - 1}"
        if tokens
        else "",
        "advance": f" + k * {name.upper()}_OUTPUTS" if per_step else "",
    }


def _places(program: Program) -> Iterator[Place]:
    widths = program.widths()
    for index, operation in enumerate(program.operations):
        arrays = {k: Constant.of(f"w{index + 1}_{k}", v) for k, v in operation.arrays.items()}
        names = tuple("u" if value == 0 else f"v{value}" for value in operation.inputs)
        of_inputs = tuple(widths[value] for value in operation.inputs)
        yield Place(operation, arrays, f"v{index + 1}", names, of_inputs)


def _init(program: Program, name: str) -> str:
    value = "initial[i]" if program.initial.any() else "0.0f"
    kept = max(1, program.states)
    body = f"  for (i = 0; i < {kept}; ++i) state->values[i] = {value};\n"
    return f"void {name}_init({name}_state *state) {{\n  int i;\n{body}}}\n"


def _step(program: Program, name: str, places: list[Place]) -> Iterator[str]:
    kind = "float" if program.vocabulary is None else "int"
    bodies, start = [], 0
    for index, place in enumerate(places):
        body = statements(place)
        size = len(place.operation.initial)
        if size:
            body = f"s = state->values + {start};\n{body}"
            start += size
        bodies.append(f"/* {index + 1}: {place.operation.kind} */\n{body}")
    bodies.append(f"for (i = 0; i < {program.outputs}; ++i) y[i] = v{len(places)}[i];\nreturn 0;\n")
    text = "".join(bodies)
    yield f"int {name}_step({name}_state *state, const {kind} *u, float *y) {{"
    yield from (f"  float v{k + 1}[{p.operation.width}];" for k, p in enumerate(places))
    yield from _declared(text, program)
    yield "".join(f"  {line}\n" for line in text.splitlines()) + "}"


def _declared(text: str, program: Program) -> Iterator[str]:
    """The variables of the step that its statements use."""
    text = re.sub(r"/\*.*?\*/", "", text)
    for kind, names in (("int", "hij"), ("float", ("sum", "part", "mean", "scale", "re", "im"))):
        used = [name for name in names if re.search(rf"\b{name}\b", text)]
        if used:
            yield f"  {kind} {', '.join(used)};"
    if program.vocabulary is not None:
        yield "  const int token = u[0];"
    if program.states:
        yield "  float *s;"
    else:
        yield "  (void)state;"
    if program.vocabulary is not None:
        yield f"  if (token < 0 || token >= {program.vocabulary}) return -1;"
