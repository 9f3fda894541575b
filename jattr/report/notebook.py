"""An attribution as a table in a notebook."""

from __future__ import annotations

import numpy as np

from jattr.attribution.result import Attribution
from jattr.attribution.result_json import finding_record
from jattr.report.html import environment, image_uri
from jattr.report.levels import visible

MAX_NOTEBOOK_ROWS = 50
TABLE = """<table>
<thead><tr><th>#</th><th>verdict</th><th>reproduction</th>
{% for name in names %}<th>{{ name | shown(40) }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{{ row.number }}</td><td>{{ row.verdict | shown }}</td>
<td>{% if row.image %}
<img src="{{ row.image }}" alt="the winner's reproduction" width="64"
 style="image-rendering: pixelated">
{% endif %}</td>
{% for name in names %}<td>{{ row.residual[name] | number }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>
<p>Residual: mean squared, [-1, 1] units; the rounding floor is 5.1e-06.
{% if left_out %}{{ left_out }} more images.{% endif %}</p>
"""


def attribution_table(attribution: Attribution) -> str:
    """Return the HTML table of the first `MAX_NOTEBOOK_ROWS` images; names are escaped."""
    names = [gen.name for gen in attribution.candidates]
    rows = []
    for i, verdict in enumerate(attribution.verdicts[:MAX_NOTEBOOK_ROWS]):
        record, image = finding_record(attribution, i), None
        if record["candidate"] is not None:
            reproduction = attribution.reproduction(i, names.index(record["candidate"]))
            if reproduction is not None:
                image = image_uri(visible(np.clip(reproduction, -1, 1)))
        rows.append(
            {"number": i, "verdict": verdict.text, "image": image, "residual": record["residual"]}
        )
    left_out = max(0, len(attribution.verdicts) - MAX_NOTEBOOK_ROWS)
    table: str = environment().from_string(TABLE).render(names=names, rows=rows, left_out=left_out)
    return table


def register() -> None:
    """Let notebooks show an `Attribution` as its table: they look for this method of a class."""
    setattr(Attribution, "_repr_html_", attribution_table)  # noqa: B010  the class does not have it
