from tests.support.commands import call


def test_the_group_teaches() -> None:
    said = call("audit", "--help")
    assert "push a product up a model's list" in said
    for verb in ("run", "report", "ask"):
        assert verb in said
