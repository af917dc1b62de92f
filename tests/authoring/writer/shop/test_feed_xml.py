from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adwright.authoring.writer.feeds import XmlFeed, read_feed
from adwright.core.errors import AdwrightError, FileUnreadableError, SchemaError

GOOGLE = "http://base.google.com/ns/1.0"
RSS = f'<?xml version="1.0"?>\n<rss version="2.0" xmlns:g="{GOOGLE}">\n<channel>\n'
#: As in the help of Merchant Center, with other words.
ATOM = f"""<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:goog="{GOOGLE}">
<title>Shop</title><link rel="self" href="http://shop.example"/><updated>2026-01-01T00:00:00Z</updated>
<entry><id>tag:1</id><goog:id>a1</goog:id><title>Assam tea</title><summary>Malty.</summary>
<link href="http://shop.example/a1"/><goog:price>3.49 GBP</goog:price></entry>
<entry><id>tag:2</id><title>Mug</title><content>A mug</content></entry>
</feed>"""
RDF = f"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns="http://purl.org/rss/1.0/" xmlns:g="{GOOGLE}"><channel><title>Shop</title></channel>
<item><title>Tea</title><g:id>1</g:id></item></rdf:RDF>"""


def item(*fields: str) -> str:
    return f"<item>{''.join(fields)}</item>\n"


def plain(number: int) -> str:
    return item(f"<g:id>{number}</g:id><g:title>Tea {number}</g:title>")


def read(folder: Path, text: str | bytes, name: str = "feed.xml") -> XmlFeed:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_feed(path)


def rows(folder: Path, *items: str) -> list[dict[str, str]]:
    feed = read(folder, f"{RSS}{''.join(items)}</channel></rss>")
    assert feed.broken == ()
    return feed.frame.to_dicts()


def test_items_are_rows_of_a_text_feed(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        item(
            "<title>Plain</title><g:title>Green &amp; black tea</g:title><g:id>1</g:id>",
            "<g:color>green</g:color><g:color>black</g:color><link>http://x</link>",
            '<other xmlns="urn:other">no field</other>',
            "<g:shipping><g:country>GB</g:country><g:price>0 GBP</g:price></g:shipping>",
            "<g:structured_description><g:digital_source_type>trained_algorithmic_media",
            "</g:digital_source_type><g:content>Malty</g:content></g:structured_description>",
        ),
        item("<g:id>2</g:id><g:brand> </g:brand>"),
    )
    assert found[0] == {
        "title": "Green & black tea",
        "id": "1",
        "color": "green, black",
        "link": "http://x",
        "shipping": "GB:0 GBP",
        "structured_description": "Malty",
    }
    assert {name for name, value in found[1].items() if value} == {"id"}
    assert "brand" not in found[1]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("<![CDATA[<p>Fine <b>tea</b></p>]]>", "<p>Fine <b>tea</b></p>"),
        ("&lt;p&gt;Fine&lt;/p&gt;", "<p>Fine</p>"),
        ("Fine <b>black</b> tea<br/>in bags", "Fine  black  tea  in bags"),
        ("5 &lt; 6 &#8364;", "5 < 6 €"),
        ("<![CDATA[a]]>]]&gt;<![CDATA[b]]>", "a]]>b"),
        ("a <!-- no <item> --> b", "a  b"),
    ],
)
def test_html_in_descriptions(tmp_path: Path, written: str, meant: str) -> None:
    (found,) = rows(tmp_path, item("<g:id>1</g:id>", f"<g:description>{written}</g:description>"))
    assert found["description"] == meant


def test_atom_and_rdf(tmp_path: Path) -> None:
    tea, mug = read(tmp_path, ATOM).frame.to_dicts()
    assert (tea["id"], tea["title"], tea["description"]) == ("a1", "Assam tea", "Malty.")
    assert (tea["link"], tea["price"]) == ("http://shop.example/a1", "3.49 GBP")
    assert (mug["id"], mug["description"]) == ("tag:2", "A mug")
    assert read(tmp_path, RDF).frame.to_dicts() == [{"title": "Tea", "id": "1"}]
    own = f'<feed xmlns="{GOOGLE}"><item><id>7</id><title>Tea</title></item></feed>'
    assert read(tmp_path, own).frame["id"].to_list() == ["7"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("<item><g:id>5</g:id><g:title>Salt & tea</g:title></item>", "invalid token"),
        ("<item><g:id>5</g:id><g:title>Tea</item>", "mismatched tag"),
        ("<item><g:id>5</g:id><g:title>Tea</g:title>", "before the next one begins"),
        ("<item><g:id>5</g:id><g:title>a&nbsp;b</g:title></item>", "&#160;"),
        ("<item><g:id>5</g:id><c:size>L</c:size></item>", "unbound prefix"),
        ('<item><g:id>5</g:id><g:title a="1" a="2">T</g:title></item>', "duplicate attribute"),
        (f"<item><g:id>5</g:id>{'<b>' * 40}{'</b>' * 40}</item>", "inside each other"),
        ("<item><g:id>5</g:id><g:title>\x00</g:title></item>", "invalid token"),
    ],
)
def test_one_broken_item_among_many_is_told_and_left_out(
    tmp_path: Path, broken: str, why: str
) -> None:
    items = [plain(number) for number in range(50)]
    items[5] = broken + "\n"
    feed = read(tmp_path, f"{RSS}{''.join(items)}</channel></rss>")
    assert feed.frame["id"].to_list() == [f"{n}" for n in range(50) if n != 5]
    assert feed.places == tuple(n for n in range(50) if n != 5)
    (told,) = feed.broken
    assert (told.place, told.id) == (5, "5")
    assert why in told.reason
    assert told.reason.endswith(("line 9", "line 10"))
    assert feed.said == ()


def test_many_broken_items_and_a_file_that_is_cut_off(tmp_path: Path) -> None:
    items = [plain(n) if n % 3 else f"<item><g:id>{n}</g:id>&</item>\n" for n in range(300)]
    feed = read(tmp_path, f"{RSS}{''.join(items)}<item><g:id>300</g:id><g:ti")
    assert len(feed.broken) == 101
    assert [one.place for one in feed.broken] == list(range(0, 301, 3))
    assert feed.frame.height == 200
    outside = read(tmp_path, f"{RSS}<title>A & B</title>{plain(1)}</channel></rss>")
    assert outside.frame["id"].to_list() == ["1"]
    assert "outside of items" in outside.said[0]
    assert "line 4" in outside.said[0]


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE rss [<!ENTITY l0 "ha">{LAUGHS}]>',
        '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE rss SYSTEM "http://127.0.0.1:9/feed.dtd">',
        '<!DOCTYPE rss [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]>',
        "<!DOCTYPE rss>",
        "<?xml version='1.0'?>\n<!-- <rss> --> <?a b?>\n<!DOCTYPE rss>",
    ],
)
def test_entities_and_document_types_are_refused(tmp_path: Path, doctype: str) -> None:
    text = f'<rss xmlns:g="{GOOGLE}"><item><g:id>1</g:id><g:title>&l9;&x;</g:title></item></rss>'
    with pytest.raises(FileUnreadableError, match="document type") as told:
        read(tmp_path, doctype + text)
    assert "feed.xml" in told.value.where
    later = read(
        tmp_path, f"{RSS}{plain(0)}<item>&</item>{doctype[-14:]}{plain(1)}</channel></rss>"
    )
    assert later.frame["id"].to_list() == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<rss/>", "no <item>"),
        ("", "no <item>"),
        ("id\ttitle\n1\tTea\n", "no <item>"),
        ("<rss><item><g:id>1</g:id></item></rss>", r"item 0, .*xmlns:g="),
    ],
)
def test_what_is_no_feed_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(FileUnreadableError, match=why):
        read(tmp_path, text)


WIDE = "".join(item(f"<g:id>{n}</g:id><g:f{n % 3990}>1</g:f{n % 3990}>") for n in range(20_000))
SPACES = " ".join(f'xmlns:n{n}="u{n}"' for n in range(8_000))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (item("".join(f"<g:f{n}>1</g:f{n}>" for n in range(5000))), "4,000 different fields"),
        (item(f"<g:{'n' * 1001}>1</g:{'n' * 1001}>"), "more than 1,000 bytes"),
        (WIDE, r"79,820,000 cells, of which 40,000 are full"),
        (f"<channel {SPACES}>{item('<b>') * 2000}", "100 namespaces"),
    ],
)
def test_a_small_file_takes_little_memory_and_time(tmp_path: Path, text: str, why: str) -> None:
    start = time.process_time()
    with pytest.raises(SchemaError, match=why):
        rows(tmp_path, text)
    assert time.process_time() - start < 5


def test_an_item_of_too_many_elements_is_told(tmp_path: Path) -> None:
    feed = read(tmp_path, f"{RSS}{item('<g:a>1</g:a>' * 10_001)}{plain(1)}</channel></rss>")
    assert "more than 10,000 elements" in feed.broken[0].reason
    assert feed.frame["id"].to_list() == ["1"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("<>&;/![]CDATA item\"'g:\n-?x", max_size=80), st.integers(0, 3))
def test_whatever_stands_in_an_item_the_others_are_read(
    tmp_path: Path, rubbish: str, place: int
) -> None:
    items = [plain(number) for number in range(4)]
    items[place] = f"<item><g:id>x</g:id>{rubbish}</item>\n"
    try:
        feed = read(tmp_path, f"{RSS}{''.join(items)}</channel></rss>")
    except AdwrightError:
        assert "<!" in rubbish or "<?" in rubbish
        return
    wanted = {f"{number}" for number in range(4) if number != place}
    if not any(mark in rubbish for mark in ("<!", "<?")):
        assert wanted <= set(feed.frame["id"].to_list())
