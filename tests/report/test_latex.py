from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sslm_platform.report.latex import escaped, matrix_latex
from sslm_platform.report.matrix import Matrix
from sslm_platform.report.run import Run
from sslm_platform.report.views import families

TEX = shutil.which("pdflatex")


@pytest.fixture
def matrices(run: Run) -> list[Matrix]:
    return [matrix for family in families(run.plan, run.cells) for _, matrix in family.matrices]


def test_every_line_has_every_column_and_braces_close(matrices: list[Matrix]):
    for matrix in matrices:
        text = matrix_latex(matrix, "sentiment_a & b", "a-b")
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert lines
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(matrix.cols)}
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")
        for environment in ("table", "tabular"):
            assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1


def test_stars_mark_the_discoveries_and_gaps_say_why(matrices: list[Matrix]):
    for matrix in matrices:
        body = matrix_latex(matrix, "t", "l").split(r"\toprule")[1]
        discoveries = [cell for cell in matrix.all_cells if matrix.is_difference and cell.discovery]
        assert body.count("$^*$") == len(discoveries)
        for cell in matrix.all_cells:
            if cell.estimate is None:
                assert rf"\emph{{{cell.state.value}}}" in body
    assert any(matrix.is_difference and any(c.discovery for c in matrix.all_cells) for matrix in matrices)


def test_no_character_keeps_a_meaning():
    assert escaped("a_b & 50% → {x}\\") == r"a\_b \& 50\% $\rightarrow$ \{x\}\textbackslash{}"


@pytest.mark.skipif(TEX is None, reason="needs pdflatex (Debian: apt install texlive-latex-recommended)")
def test_the_tables_compile(matrices: list[Matrix], tmp_path: Path):
    tables = "\n".join(matrix_latex(matrix, "A_b", f"t{i}") for i, matrix in enumerate(matrices))
    packages = r"\usepackage{booktabs,graphicx}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}{tables}\end{{document}}"
    (tmp_path / "tables.tex").write_text(document, encoding="utf-8")
    command = [str(TEX), "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
