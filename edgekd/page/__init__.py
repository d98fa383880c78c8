"""The report as a page: a frame, and sections of one template and one function each, from the document alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd import budget_report
from edgekd.charts import palette
from edgekd.page.figures import Document, baseline_of, shipped_of, summary_rows, task_of
from edgekd.page.sections import SECTIONS
from edgekd.report_format import FILTERS

if TYPE_CHECKING:
    import jinja2

__all__ = ["baseline_of", "render", "render_plain", "summary_rows", "task_of"]


def render(document: Document, template: str) -> str:
    """Render ``report.html.j2`` or ``report.md.j2``: its sections first, then the frame that holds them.

    Of a section that has no template of this form nothing is shown.
    """
    from markupsafe import Markup

    environment = _environment()
    shared = {
        **document,
        "document": document,
        "shipped": shipped_of(document),
        "task": task_of(document),
        "baseline": baseline_of(document),
        "rows": summary_rows(document),
        "headline": budget_report.headline(document),
        "teacher_name": Path(document["recipe"]["teacher"]["model"]).name,
    }
    form = template.partition(".")[2]
    there = set(environment.list_templates())
    sections: list[dict[str, Any]] = []
    for section in SECTIONS:
        name = f"sections/{section.id}.{form}"
        context = section.context(document) if name in there else None
        if context is not None:
            body = environment.get_template(name).render({**shared, **context})
            body = Markup(body) if form.startswith("html") else body
            sections.append({"id": section.id, "title": section.title, "body": body})
    return environment.get_template(template).render(shared, sections=sections)


def render_plain(context: Mapping[str, Any], template: str) -> str:
    """Render a template that has no sections, in the report's style."""
    return _environment().get_template(template).render(context)


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgekd", "templates"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(palette={"light": palette.LIGHT, "dark": palette.DARK}, heat=palette.HEAT)
    return environment
