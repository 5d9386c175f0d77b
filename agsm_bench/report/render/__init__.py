"""A joined table as text: for the terminal, Markdown, CSV, JSON, LaTeX and HTML.

Published and measured values never share a column. People read measured values with the column's decimals; CSV and
JSON keep every digit, and are read back.
"""

from agsm_bench.report.render.csv_file import from_csv, to_csv
from agsm_bench.report.render.json_file import from_json, to_json
from agsm_bench.report.render.markdown import to_markdown
from agsm_bench.report.render.terminal import to_rich

__all__ = ["from_csv", "from_json", "to_csv", "to_json", "to_markdown", "to_rich"]
