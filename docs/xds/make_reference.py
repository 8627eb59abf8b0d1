"""Write docs/xds/reference.md: every public name of the library, from its docstring.

Run by `make reference`. A test checks that the page is current.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

from scopeway import xds

PAGE = Path(__file__).with_name("reference.md")
PACKAGE = Path(str(xds.__file__)).parent
SECTIONS = {
    "Server": ("grpc_server.server", "grpc_server.stream", "limits", "security"),
    "Caches": ("cache.snapshot", "cache.single_resources"),
    "Resources": ("encoding.packing", "resource", "type_urls"),
    "Sources": ("source", "notifier"),
    "Events": ("events",),
    "Errors": ("errors",),
    "Tests": ("testing",),
    "Status": ("protocol.status",),
    "Without gRPC": ("protocol.session", "protocol.lookups", "encoding.messages", "steps"),
}
"""The modules of each section; `testing` is public as a whole."""
BLOCKS = {
    "encoding.messages": ("resource",),
    "encoding.protobuf": (
        *("any_message", "field_bool", "field_bytes", "field_string", "field_varint", "nested"),
    ),
    "grpc_server.services": ("SERVICES", "Service"),
    "multimap": ("Index",),
    "steps": ("STRIDE",),
    "text": ("shown",),
}
"""Building blocks, which are imported from their module."""
HEAD = """\
# Reference

Every public name of `scopeway.xds`. Import it by `from scopeway import xds`. `make reference`
writes this page from the docstrings; do not edit it.

"""
_Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """Return the text of the page."""
    homes = {**xds._HOMES, "testing": ("Client", "Received")}
    parts = [HEAD + "".join(_contents(homes))]
    for title, modules in SECTIONS.items():
        parts.append(f"## {title}\n")
        for module in modules:
            prefix = "xds.testing." if module == "testing" else "xds."
            parts += _module(module, homes.pop(module), prefix)
    assert not homes, f"in no section: {sorted(homes)}"
    parts.append("## Building blocks\n\nThese are imported from their modules.\n")
    for module, names in BLOCKS.items():
        parts += _module(module, names, f"scopeway.xds.{module}.")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _contents(homes: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of the list of all sections."""
    for title, modules in SECTIONS.items():
        anchor = title.lower().replace(" ", "-")
        names = ", ".join(f"`{name}`" for module in modules for name in sorted(homes[module]))
        yield _wrapped(f"- [{title}](#{anchor}): {names}") + "\n"


def _module(module: str, names: tuple[str, ...], prefix: str) -> Iterator[str]:
    body = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text()).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.ClassDef(name) if name in names:
                yield from _class(statement, prefix)
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) if name in names:
                yield f"### {prefix}{name}\n\n{_code(_signature(statement))}\n{_doc(statement)}"
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                if name in names:
                    yield f"### {prefix}{name}\n\n{_following(following)}"


def _class(node: ast.ClassDef, prefix: str) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    kind = f" ({bases})" if bases else ""
    yield f"### {prefix}{node.name}{kind}\n\n{_doc(node)}"
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(name)) if not name.startswith("_"):
                yield _member(_assignment(statement), _following(following))
            case ast.Assign(targets=[ast.Name(name)]) if not name.startswith("_"):
                yield _member(ast.unparse(statement), _following(following))
            case ast.FunctionDef(name="__init__") if node.name != "Server":
                yield _code(f"{prefix}{node.name}{_arguments(statement)}")
                yield from _attributes(statement)
            case ast.FunctionDef(name="__init__"):  # only `serve` makes it
                yield from _attributes(statement)
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) if not name.startswith("_"):
                yield _member(_signature(statement), _doc(statement))


def _attributes(node: ast.FunctionDef) -> Iterator[str]:
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        match statement:
            case (
                ast.Assign(targets=[ast.Attribute(attr=name)])
                | ast.AnnAssign(target=ast.Attribute(attr=name))
            ) if not name.startswith("_"):
                annotation = getattr(statement, "annotation", None)
                kind = f": {ast.unparse(annotation)}" if annotation else ""
                text = _following(following)
                if text:
                    yield _member(name + kind, text)


def _member(head: str, text: str) -> str:
    return f"- `{head}`\n\n{indent(text, '  ')}"


def _assignment(node: ast.AnnAssign) -> str:
    value = "" if node.value is None else f" = {ast.unparse(node.value)}"
    if "field(" in value:
        value = ""
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}{value}"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return f"{node.name}: {ast.unparse(node.returns)}" if node.returns else node.name
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    if any(ast.unparse(each) == "asynccontextmanager" for each in node.decorator_list):
        prefix = "async with "
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{prefix}{node.name}{_arguments(node)}{returns}"


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = ast.unparse(node.args)
    return f"({re.sub(r'^self(, )?', '', arguments)})"


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n" if len(text) <= 112 else f"```python\n{_broken(text)}\n```\n"


def _broken(text: str) -> str:
    """Return a signature with a line for each argument."""
    return ast.unparse(ast.parse(text)) if "(" not in text else _split(text)


def _split(text: str) -> str:
    head, _, rest = text.partition("(")
    arguments, depth, parts = rest.rpartition(")")[0], 0, [""]
    for char in arguments:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    lines = "".join(f"    {part.strip()},\n" for part in parts)
    return f"{head}(\n{lines}){rest.rpartition(')')[2]}"


def _doc(node: _Documented) -> str:
    return _markdown(ast.get_docstring(node) or "")


def _following(statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(ast.Constant(str(text))):
            first, _, rest = text.partition("\n")
            return _markdown(f"{first}\n{dedent(rest)}")
    return ""


def _markdown(text: str) -> str:
    """Return a docstring of Google's style as Markdown."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        title, _, rest = paragraph.partition("\n")
        if title in ("Args:", "Raises:", "Returns:"):
            items = re.split(r"\n(?=    \S)", "\n" + rest.rstrip())
            lines = [_wrapped(f"- {_item(each)}") for each in items if each.strip()]
            out.append(f"{title[:-1]}:\n\n" + "\n".join(lines))
        elif paragraph.startswith("    "):
            out.append(paragraph)
        else:
            out.append(_wrapped(paragraph))
    return "\n\n".join(out) + "\n"


def _item(text: str) -> str:
    text = " ".join(text.split())
    name, colon, rest = text.partition(": ")
    return f"`{name}`: {rest}" if colon and re.fullmatch(r"[\w.]+", name) else text


def _wrapped(text: str) -> str:
    """Return a paragraph in lines of at most 112 columns; what stands in backquotes is not cut."""
    words = re.findall(r"(?:`[^`]*`|\S)+", " ".join(text.split()))
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > 112:
            lines.append("  " if text.startswith("- ") else "")
        lines[-1] += word if not lines[-1].strip() else f" {word}"
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
