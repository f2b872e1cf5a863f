"""The code blocks of the documentation do what the pages say: bash and python run, sh and text are shown only."""

import pytest

from docs_site.checks.conftest import DOCS, blocks, run_blocks

ELSEWHERE = {"first_hour", "own_parts"}  # the fixture of every page; tests/system/test_system_own_parts.py
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.stem not in ELSEWHERE and blocks(page.read_text())]


def test_the_first_hour_leaves_what_it_says(first_hour):
    for result in ("outputs/evaluation/report.html", "outputs/predictions/lesions.tsv", "multirun/seeds/sweep.csv"):
        assert (first_hour / result).is_file(), result
    assert (first_hour / "mask.nii.gz").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, folder, environment):
    run_blocks(page, folder, environment)
