"""The page: self-contained, complete, escaped, always the same."""

from __future__ import annotations

import re
from html import unescape

import pytest
from jinja2 import UndefinedError

from r2b.page.charts import WIDTH
from r2b.page.render import environment, hash_of, render, write_page
from tests.page.support import Parsed, report_of

HOSTILE = "<script>alert('1')</script>\"></title>${x}$\\alpha$ & 层\x1b"
SHOWN = HOSTILE.replace("\x1b", "\ufffd")
LOADING = {
    "src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster", "background",
    "cite", "ping", "manifest", "codebase",
}  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return report_of(verified=True)


@pytest.fixture(scope="module")
def page(report):
    return render(report)


@pytest.fixture(scope="module")
def parsed(page):
    return Parsed(page)


# ------------------------------------------------------------------------------- self-contained


def test_nothing_leads_out_of_the_page(page, parsed):
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            if name in LOADING:
                assert value.startswith("#") or value == "data:,", (tag, name, value)
            assert not re.search(r"url\((?!#)", value), (tag, name, value)
        if tag == "meta":
            assert attributes.get("http-equiv", "").lower() != "refresh"
    style = "".join(text for _, text in parsed.find("style"))
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in page


def test_what_leads_inside_the_page_is_there(parsed):
    ids = [found["id"] for _, found in parsed.elements if "id" in found]
    assert len(ids) == len(set(ids))
    links = [found["href"] for _, found in parsed.elements if found.get("href", "#x") != "#x"]
    inside = [link[1:] for link in links if link.startswith("#")]
    inside += [
        target
        for _, found in parsed.elements
        for value in found.values()
        for target in re.findall(r"url\(#([^)]+)\)", value)
    ]
    inside += [
        found[name]
        for _, found in parsed.elements
        for name in ("aria-labelledby",)
        if name in found
    ]
    assert len(inside) > 20
    assert set(inside) <= set(ids)


def test_the_policy_lets_the_one_script_run_and_no_other(parsed):
    ((policy, _),) = parsed.find("meta", **{"http-equiv": "Content-Security-Policy"})
    ((_, script),) = parsed.find("script")
    assert policy["content"] == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src '{hash_of(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "</" not in script
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on")]


def test_the_same_report_gives_the_same_bytes(report, page, tmp_path):
    write_page(report, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == page.encode()
    assert render(report) == page


def test_it_stays_small(page):
    assert len(page) < 200_000


# ------------------------------------------------------------------------------------- complete


def test_every_stage_is_a_node_a_row_and_a_bar(report, parsed):
    names = [stage["name"] for stage in report["stages"]]
    nodes = [
        found for tag, found in parsed.elements if tag == "a" and "node" in found.get("class", "")
    ]
    assert [found["id"] for found in nodes] == [f"node-{n}" for n in range(1, len(names) + 1)]
    assert [text for found, text in parsed.find("text", **{"class": "name"})] == names
    for key in ("performance", "formats", "work", "memory", "fidelity"):
        rows = parsed.table(key)[1 : len(names) + 1]
        assert [row[0] for row in rows] == [str(n) for n in range(1, len(names) + 1)]
        assert all(row[1].startswith(name) for row, name in zip(rows, names, strict=True))
    tips = [text for _, text in parsed.find("title")]
    for stage in report["stages"]:
        assert f"{stage['name']}\npredicted cycles: {stage['cycles']['predicted']:,}" in tips
        assert f"{stage['name']}\nmeasured: 1,000" in tips
        assert any(tip.startswith(f"{stage['name']}\n{stage['location']}\n") for tip in tips)


def test_totals_are_the_reports(report, parsed):
    work, cycles, memory = (parsed.table(key)[-1] for key in ("work", "performance", "memory"))
    ops = report["ops"]
    assert work[2:4] == [f"{ops['binary']:,}", f"{ops['real']:,}"]
    assert cycles[3:5] == [
        f"{report['cycles']['predicted']:,}",
        f"{report['cycles']['measured']:,}",
    ]
    bits = report["memory"]
    assert memory[-1] == f"{sum(bits.values()) / 8192:,.2f}"


def test_the_rows_add_up_to_the_totals(report, parsed):
    def column(key: str, place: int) -> float:
        return sum(row[place] or 0 for row in parsed.values(key) if row[0] is not None)

    assert column("work", 1) == report["ops"]["binary"]
    assert column("work", 2) == report["ops"]["real"]
    assert column("performance", 1) == report["cycles"]["predicted"]
    assert column("memory", 5) == sum(report["memory"].values())


def test_the_figures_at_the_head(report, parsed):
    texts = [text for _, text in parsed.find("div") if text]
    cycles = report["hardware"]["period"]
    assert f"cycles per frame{cycles:,}" in "".join(texts)
    assert f"{cycles / 100:.3g} µs at 100 MHz" in "".join(texts)
    assert "Verilog and ProgramEQUAL0 of 4,242 bits differ, 3 frames" in "".join(texts)
    rate = 100e6 / cycles
    assert f"{rate / 1e3:.1f} k" in "".join(texts)


def test_without_a_plan_there_is_nothing_of_cycles():
    parsed = Parsed(render(report_of(planned=False)))
    figures = [found["id"] for found, _ in parsed.find("figure") if "id" in found]
    assert figures == ["chart-work", "chart-memory"]
    assert [found["id"] for found, _ in parsed.find("table")] == [
        "table-formats", "table-work", "table-memory", "table-fidelity",
    ]  # fmt: skip


def test_headings_captions_and_languages(parsed):
    assert parsed.find("html", lang="en")
    tables = parsed.find("table")
    assert len(parsed.find("caption")) == len(tables) == 7
    headings = parsed.find("th")
    assert {found["scope"] for found, _ in headings} == {"col", "row"}
    charts = parsed.find("svg", role="img")
    assert len(charts) == 6
    assert all(found["aria-label"] for found, _ in charts)
    assert all(float(found["viewbox"].split()[2]) == WIDTH for found, _ in charts)


# ----------------------------------------------------------------------------------- any content


def test_hostile_names_are_text():
    page = render(report_of(name=HOSTILE))
    parsed = Parsed(page)
    assert len(parsed.find("script")) == 1
    assert parsed.find("h1")[0][1] == SHOWN
    assert any(row[1].startswith(SHOWN) for row in parsed.table("formats"))
    assert any(text.startswith(SHOWN) for _, text in parsed.find("title"))
    assert "<script>alert" not in page
    assert unescape(page).count(SHOWN) > 10


def test_no_warning_for_a_script_that_the_charts_font_lacks():
    """A warning is an error here."""
    assert "层" in render(report_of(name="层" * 40))


def test_a_report_that_lacks_something_fails():
    with pytest.raises(UndefinedError):
        environment().from_string("{{ page.nmae }}").render(page=object())
    with pytest.raises(KeyError):
        render({name: value for name, value in report_of().items() if name != "stages"})


def test_a_users_matplotlib_settings_change_nothing(report, page):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "text.usetex": True, "svg.fonttype": "path"}):
        assert render(report) == page
        assert matplotlib.rcParams["font.size"] == 30


def test_differing_bits_are_told():
    report = report_of(verified=True)
    report["verification"] |= {"equal": False, "differing_bits": 7}
    parsed = Parsed(render(report))
    assert [text for found, text in parsed.find("div", **{"class": "fact bad"})] == [
        "Verilog and ProgramDIFFERENT7 of 4,242 bits differ, 3 frames"
    ]
