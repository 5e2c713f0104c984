"""`python -m tests.helm` writes the golden files anew, for a change of the chart that was meant."""

from tests.helm.chart import GOLDEN, GOLDENS, golden_file, golden_text

GOLDEN.mkdir(exist_ok=True)
for case in GOLDENS:
    golden_file(case).write_text(golden_text(case))
    print(f"wrote {golden_file(case)}")  # noqa: T201 - to whoever typed it
