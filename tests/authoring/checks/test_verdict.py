"""?"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from adwright.authoring.checks.limits import (
    BrandVoice,
    CheckConfig,
    Finding,
    PlatformLimit,
    account_spans,
    all_limits,
    brands_of,
    card_spans,
    check_limit,
    check_repetition,
    check_voice,
    errors_of,
    facts_of,
    in_order,
    is_card,
    is_iban,
    limit_named,
    limits_version,
    trim,
    width,
)
from adwright.authoring.checks.policy import check_policy
from adwright.authoring.checks.verdict import check, repair, usable
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.grounding import grounded

TEA = Product(
    "1",
    "Mill Lane Assam tea 80 bags",
    "A malty black tea in a navy tin.",
    "Mill Lane",
    "Tea",
    "3.49",
    "GBP",
    (("Weight", "250 g"), ("Tin", "steel")),
)
ADS = AuthoringRequest(task_named("ads"), TEA, (("occasion", "Christmas"),))


def rules(text: str, config: CheckConfig | None = None) -> set[str]:
    return {one.rule for one in check(text, ADS, config or CheckConfig())}


def test_a_good_text_has_no_finding() -> None:
    text = "Malty Assam tea for Christmas: 80 bags, 250 g, £3.49."
    assert rules(text) == set()
    kept = repair(text, ADS)
    assert (kept.text, kept.changed, kept.failed) == (text, False, False)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("90 bags", "grounding/number"),
        ("The best tea", "policy/superlative"),
        ("<b>Tea</b>", "markup/html"),
        ("Tea tea", "repetition/doubled"),
        ("Der Tee ist mild und fein", "language/other"),
        (" ", "size/empty"),
        ("a" * 20_001, "size/too-long"),
    ],
)
def test_each_check_is_run(text: str, rule: str) -> None:
    assert rule in rules(text)


def test_settings_change_the_verdict() -> None:
    assert rules("Tea from Acme", CheckConfig(brands=brands_of([Product("2", "x", brand="Acme")])))
    assert rules("a tea like acme", CheckConfig(competitors=frozenset(("Acme",))))
    assert rules("a tea like acme") == set()
    assert rules("Malty tea", CheckConfig(voice=BrandVoice(banned=("malty",))))
    assert rules("Malty tea, 80 bags, 250 g, steel", CheckConfig(limit="google.headline"))
    assert rules("Das ist der Tee und die Dose", CheckConfig(locale="de")) == set()
    assert rules("90 bags, the best", CheckConfig(checks=("limits",))) == set()
    assert rules("Malty tea", CheckConfig(most_characters=5)) == {"size/too-long"}


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="no text"):
        check(None, ADS)  # type: ignore[arg-type]
    odd = replace(ADS, task=replace(ADS.task, checks=("gravity",)))
    with pytest.raises(ConfigError, match="no check 'gravity'"):
        check("Tea", odd)


def test_labels_are_checked_and_never_invented() -> None:
    request = AuthoringRequest(task_named("classify"), TEA, labels=("Tea", "Coffee"))
    assert check(" Tea ", request) == ()
    assert [one.rule for one in check("Teas", request)] == ["label/unknown"]
    found = repair("Teas", request)
    assert (found.text, found.failed) == ("", True)


HEADLINE = limit_named("google.headline")
PLANNED = "Choose Mill Lane Assam tea 80 bags with a weight of 250 g."


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("Mill Lane Assam tea is malty. It comes in red.", "Mill Lane Assam tea is malty."),
        ("Get 50% OFF! Only $2.99. Assam tea is for Christmas.", "Assam tea is for Christmas."),
        ("<b>Assam</b> tea &amp; more is here.", "Assam tea & more is here."),
        ("Assam tea is in a navy tin!!!", "Assam tea is in a navy tin!"),
        ("It cures cancer", PLANNED),
        ("Eczema.", PLANNED),
        ("Comes with 32 GB of memory.", PLANNED),
        ("", PLANNED),
    ],
)
def test_repair_leaves_whole_sentences_or_what_was_planned(text: str, mended: str) -> None:
    found = repair(text, ADS, sentences=True, instead=lambda: PLANNED)
    assert (found.text, found.failed, found.changed) == (mended, False, True)
    assert errors_of(found.findings_before)
    assert not usable(found.text, ADS, sentences=True)


def test_repair_keeps_to_the_limit() -> None:
    config = CheckConfig(limit="google.headline")
    text = "Malty Assam tea in a navy tin for long evenings"
    assert repair(text, ADS, config, instead=lambda: "Assam tea").text == "Assam tea"
    assert repair(text, ADS, config).failed


def test_what_cannot_be_mended_fails_and_is_empty() -> None:
    config = CheckConfig(voice=BrandVoice(banned=("mill", "tea", "assam", "lane")))
    found = repair("The best tea", ADS, config, instead=lambda: PLANNED)
    assert (found.text, found.failed, found.changed) == ("", True, True)


WORDS = [
    *("80", "16", "GB", "g", "%", "off", "tea", "leather", "faux", "red", "and", ",", ".", "with"),
    *(
        "free",
        "no",
        "best",
        "Nike",
        "Paris",
        "a",
        "$",
        "-",
        "1,5",
        "KX-1",
        "!!!",
        "NOW",
        "\n",
        "is",
    ),
]
texts = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(max_size=40)
limits = st.sampled_from(["", "google.headline", "google.path"])


@given(texts, texts.filter(str.strip), texts, limits)
@examples(max_examples=150)
def test_what_was_repaired_is_grounded_or_says_that_it_failed(
    text: str, title: str, fact: str, limit: str
) -> None:
    product = Product("1", title, attributes=(("fact", fact),))
    request = AuthoringRequest(task_named("ads"), product)
    config = CheckConfig(limit=limit, brands=frozenset(("Nike", "Acme")))
    found = repair(text, request, config, instead=lambda: title)
    if found.failed:
        assert found.text == ""
    else:
        assert grounded(found.text, facts_of(request, config), brands=config.brands)
        assert not errors_of(check(found.text, request, config))
    assert found.findings_after == check(found.text, request, config)
    assert repair(text, request, config, instead=lambda: title) == found


LONG = [
    "a ",
    "9",
    "1-",
    "<",
    "<script>",
    "\u202e",
    "A",
    "!",
    "茶",
    "a-",
    "&",
    "{",
    "\x00",
    "no ",
    "aB",
    "$1 ",
]


@pytest.mark.parametrize("part", LONG)
def test_five_megabytes_take_less_than_a_second(part: str) -> None:
    text = (part * 5_000_000)[:5_000_000]
    begun = time.process_time()
    (found,) = check(text, ADS)
    assert found.rule == "size/too-long"
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize("part", LONG)
def test_hard_texts_take_bounded_time(part: str) -> None:
    begun = time.process_time()
    repair((part * 20_000)[:4_000], ADS)
    assert time.process_time() - begun < 5.0


def test_facts_of_five_megabytes() -> None:
    product = Product("1", "Assam tea", "80 bags " * 600_000)
    request = AuthoringRequest(task_named("ads"), product)
    begun = time.process_time()
    assert check("80 bags", request) == ()
    assert time.process_time() - begun < 5.0


LOCALES = [
    *(
        "af",
        "am",
        "ar",
        "az",
        "be",
        "bg",
        "bn",
        "bs",
        "ca",
        "cs",
        "da",
        "de",
        "el",
        "en",
        "es",
        "et",
    ),
    *(
        "fa",
        "fi",
        "fr",
        "gu",
        "he",
        "hi",
        "hr",
        "hu",
        "hy",
        "id",
        "it",
        "ja",
        "ka",
        "kk",
        "km",
        "kn",
    ),
    *(
        "ko",
        "lo",
        "lt",
        "lv",
        "mk",
        "ml",
        "mr",
        "ms",
        "my",
        "nb",
        "ne",
        "nl",
        "pa",
        "pl",
        "pt",
        "ro",
    ),
    *("ru", "si", "sk", "sl", "sq", "sr", "sv", "ta", "te", "th", "tr", "uk", "ur", "vi", "zh"),
]


@pytest.mark.parametrize("locale", LOCALES)
def test_any_language_is_checked(locale: str) -> None:
    odd = "Ünïcode हिन्दी עברית 中文 ไทย \u202eabc\u202c 1.234,5 € ½ ١٢ 👩‍🚀 80"
    product = replace(TEA, locale=locale)
    request = AuthoringRequest(task_named("descriptions"), product)
    found = check(odd, request)
    assert all(0 <= one.start <= one.end <= len(odd) for one in found)
    assert "markup/unseen" in {one.rule for one in found}
    config = CheckConfig(checks=("grounding", "markup"))
    assert not repair(odd, request, config, instead=lambda: request.product.title).failed


def test_real_products_are_repaired(shared_data: Path) -> None:
    read = json.loads((shared_data / "dummyjson" / "products.json").read_text("utf-8"))
    rows = read["products"] if isinstance(read, dict) else read
    products = [
        Product(str(row["id"]), row["title"], row["description"], row.get("brand") or "")
        for row in rows
    ][:60]
    config = CheckConfig(brands=brands_of(products))
    task = task_named("descriptions")
    for one, other in zip(products, [*products[1:], products[0]], strict=True):
        request = AuthoringRequest(task, one)
        found = repair(other.description, request, config, instead=lambda: one.title)  # noqa: B023
        assert not found.failed, one.title
        assert grounded(found.text, one.facts(), brands=config.brands)


def test_the_table_says_where_its_figures_come_from() -> None:
    found = {one.name: one.most for one in all_limits()}
    assert found["google.headline"] == 30
    assert found["google.description"] == 90
    assert found["google.path"] == 15
    assert found["web.meta_description"] == 155
    assert limit_named("meta.primary").visible == 125
    assert (HEADLINE.fewest_texts, HEADLINE.most_texts) == (3, 15)
    assert all(one.source for one in all_limits())
    assert all(bool(one.read) == (one.basis != "unverified") for one in all_limits())
    read = {one.name for one in all_limits() if one.basis == "platform"}
    assert read == {"google.shopping_title", "google.shopping_description", "amazon.title"}
    assert all(one.url.startswith("https://") for one in all_limits() if one.basis != "unverified")
    assert all(one.note for one in all_limits())
    assert limits_version()


def test_wide_characters_count_two_where_the_platform_does_so() -> None:
    assert width("茶tea") == 5
    assert check_limit("茶" * 15, HEADLINE) == ()
    (found,) = check_limit("茶" * 16, HEADLINE)
    assert (found.rule, found.start, found.end) == ("limits/too-long", 15, 16)
    assert check_limit("茶" * 60, limit_named("web.title")) == ()


def test_what_is_not_shown_is_a_warning() -> None:
    (found,) = check_limit("a" * 41, limit_named("meta.headline"))
    assert (found.rule, found.severity, found.start) == ("limits/cut-off", "warning", 40)


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("short", "short"),
        ("A quiet cup of tea for you and the whole family", "A quiet cup of tea for you"),
        ("A quiet cup of tea is here. More of it soon", "A quiet cup of tea is here."),
        ("x" * 40, "x" * 30),
        ("A quiet cup of tea which fits!!", "A quiet cup of tea which"),
    ],
)
def test_trimming(text: str, trimmed: str) -> None:
    assert trim(text, HEADLINE) == trimmed


@given(st.text(max_size=200), st.sampled_from(all_limits()))
def test_what_is_trimmed_fits(text: str, limit: PlatformLimit) -> None:
    found = trim(text, limit)
    assert limit.size(found) <= limit.most
    assert text.startswith(found)


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean google\.headline"):
        limit_named("google.headlin")
    with pytest.raises(ConfigError, match="at least 1"):
        PlatformLimit("a.b", 0, "s", "r")
    with pytest.raises(ConfigError, match="visible 9"):
        PlatformLimit("a.b", 5, "s", "r", visible=9)


#: Examples of SWIFT's IBAN registry, in the form in which they are printed.
REAL_FORM = (
    *("AD12 0001 2030 2003 5910 0100", "AT61 1904 3002 3457 3201", "BE68 5390 0754 7034"),
    *("CH93 0076 2011 6238 5295 7", "DE89 3704 0044 0532 0130 00", "DK50 0040 0440 1162 43"),
    *("ES91 2100 0418 4502 0005 1332", "FI21 1234 5600 0007 85", "GB29 NWBK 6016 1331 9268 19"),
    *("FR14 2004 1010 0505 0001 3M02 606", "IE29 AIBK 9311 5212 3456 78"),
    *("IT60 X054 2811 1010 0000 0123 456", "LU28 0019 4006 4475 0000", "NL91 ABNA 0417 1643 00"),
    *(
        "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
        "NO93 8601 1117 947",
        "SE45 5000 0000 0583 9825 7466",
    ),
    *("PL61 1090 1014 0000 0712 1981 2874", "TR33 0006 1005 1978 6457 8413 26"),
)


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in account_spans(text)]


@pytest.mark.parametrize("account", REAL_FORM)
def test_real_forms_are_found_whatever_stands_around_them(account: str) -> None:
    solid = account.replace(" ", "")
    for one in (account, solid, solid.lower(), account.replace(" ", "-")):
        assert is_iban(one)
        assert found(one) == [one]
        assert found(f"Pay to {one} with your name, four more here") == [one]
        assert found(f"({one}).") == [one]
    assert found(f"{account} {solid}") == [account, solid]


@pytest.mark.parametrize("account", REAL_FORM)
def test_a_wrong_digit_or_length_is_no_account(account: str) -> None:
    for at, sign in enumerate(account):
        if sign.isdigit():
            other = f"{account[:at]}{(int(sign) + 1) % 10}{account[at + 1 :]}"
            assert not is_iban(other)
            assert found(f"Pay to {other} today") == []
    solid = account.replace(" ", "")
    assert not is_iban(solid + "0")
    assert not is_iban(solid[:-1])
    assert found(f"x{solid}") == found(f"{solid}0") == found(f"{solid}_1") == []


@pytest.mark.parametrize(
    "text", ["", "DE", "XX89 3704 0044 0532 0130 00", "DE8٩370400440532013000"]
)
def test_what_is_no_account(text: str) -> None:
    assert not is_iban(text)
    assert found(text) == []


def test_cards() -> None:
    assert list(card_spans("card 4111 1111 1111 1111, 5500-0000-0000-0004")) == [(5, 24), (26, 45)]
    assert list(card_spans("4111 1111 1111 1112")) == []
    assert is_card("378282246310005")
    assert not is_card("378282246310006")
    assert not is_card("3782 ff")


@given(st.text(max_size=60), st.sampled_from(REAL_FORM), st.text(max_size=60))
def test_spans_are_accounts_and_no_text_breaks_it(before: str, account: str, after: str) -> None:
    text = f"{before} {account} {after}"
    spans = list(account_spans(text))
    assert all(is_iban(text[start:end]) for start, end in spans)
    assert any(text[start:end].startswith(account[:4]) for start, end in spans)
    assert all(one <= two for (_, one), (two, _) in pairwise(spans))


def test_the_policy_says_so_once_for_each() -> None:
    text = "To DE89 3704 0044 0532 0130 00, or by 4111 1111 1111 1111"
    told = [(one.rule, text[one.start : one.end]) for one in check_policy(text, ())]
    assert told == [
        ("policy/personal-data", "DE89 3704 0044 0532 0130 00"),
        ("policy/personal-data", "4111 1111 1111 1111"),
    ]


def test_findings_are_ordered_once_each() -> None:
    late = Finding("b/x", 5, 6, "warning", "late")
    short = Finding("a/x", 0, 2, "error", "short")
    long = Finding("c/x", 0, 9, "error", "long")
    assert in_order([late, short, long, late]) == (long, short, late)
    assert errors_of([late, short]) == (short,)


def test_another_severity_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Finding\.severity"):
        Finding("a/x", 0, 1, "fatal", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("A fine cup of tea", []),
        ("A fine fine cup", ["doubled"]),
        ("It is so so good, and 5 5", []),
        ("a cup of tea, a cup of tea, a cup of tea", ["phrase"]),
        ("shoes red shoes big shoes new shoes my shoes", ["stuffing"]),
    ],
)
def test_what_is_found(text: str, rules: list[str]) -> None:
    assert [one.rule.partition("/")[2] for one in check_repetition(text)] == rules


def test_only_a_third_of_all_words_is_an_error() -> None:
    few = "shoes one two three shoes four five six shoes seven eight shoes nine ten eleven"
    assert [one.severity for one in check_repetition(few)] == ["warning"]
    many = "shoes one shoes two shoes three shoes four"
    assert [one.severity for one in check_repetition(many)] == ["error"]


LIMITS_TEA = Product("1", "Assam tea", brand="Mill Lane", locale="en-GB")
REQUEST = AuthoringRequest(
    task_named("ads"), LIMITS_TEA, (("occasion", "Christmas"), ("audience", "students"))
)


def test_a_config_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "checks.toml"
    file.write_text(
        'checks = ["grounding", "limits"]\nlimit = "google.path"\nbrands = ["Acme"]\n'
        'competitors = ["Other"]\n[voice]\nbanned = ["cheap"]\n'
    )
    config = load_toml(file, CheckConfig)
    assert config.brands == {"Acme"}
    assert config.voice == BrandVoice(banned=("cheap",))
    assert from_jsonable(CheckConfig, to_jsonable(config)) == config


def test_brands_of_a_catalogue() -> None:
    assert brands_of(
        [LIMITS_TEA, LIMITS_TEA, Product("2", "a", brand=" "), Product("3", "a", brand="B")]
    ) == {"Mill Lane", "B"}


def test_facts_are_those_of_the_product_and_of_some_values() -> None:
    assert facts_of(REQUEST, CheckConfig()) == ("Assam tea", "Mill Lane", "Christmas", "students")
    assert facts_of(REQUEST, CheckConfig(fact_slots=())) == ("Assam tea", "Mill Lane")
    long = AuthoringRequest(task_named("ads"), Product("1", "a" * 5_000_000, brand="b"))
    assert [len(one) for one in facts_of(long, CheckConfig())] == [50_000]


def test_the_locale_is_the_nearest_one_set() -> None:
    voice = BrandVoice(locale="de")
    assert CheckConfig().locale_of(REQUEST) == "en-GB"
    assert CheckConfig(voice=voice).locale_of(REQUEST) == "de"
    assert CheckConfig(voice=voice, locale="fr").locale_of(REQUEST) == "fr"


def test_a_limit_that_is_none_is_refused_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"google\.headline"):
        CheckConfig(limit="google.headlines")


def test_a_voice_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "voice.toml"
    file.write_text(
        'tone = "warm"\nbanned = ["cheap", "buy now"]\nrequired = ["Mill Lane"]\n'
        'examples = ["A quiet cup."]\nlocale = "en-GB"\n'
    )
    voice = load_toml(file, BrandVoice)
    assert voice.prompt().splitlines() == [
        "Tone: warm.",
        "Never use: cheap, buy now.",
        "Always use: Mill Lane.",
        "Write in en-GB.",
        "Example: A quiet cup.",
    ]
    found = check_voice("Buy  now, cheaps and cheaply", voice)
    assert [(one.rule, one.severity) for one in found] == [
        ("voice/banned", "error"),
        ("voice/banned", "error"),
        ("voice/required", "warning"),
    ]
    assert check_voice("By mill lane", voice) == ()
    file.write_text('tones = "warm"')
    with pytest.raises(ConfigError, match="did you mean tone"):
        load_toml(file, BrandVoice)


def test_an_empty_voice_asks_nothing() -> None:
    assert check_voice("anything", BrandVoice()) == ()
    assert BrandVoice().prompt() == ""


def test_bad_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="must not be empty"):
        BrandVoice(banned=(" ",))
    with pytest.raises(ConfigError, match="banned and required"):
        BrandVoice(banned=("Tea",), required=("tea",))
