from tests.support.commands import call


def test_the_group_teaches() -> None:
    said = call("creative", "--help")
    assert "Will an ad be clicked" in said
    assert "annotate" in said
