from tests.support.commands import call


def test_each_kind_of_training_has_its_verb() -> None:
    said = call("creative", "train", "--help")
    for verb in ("clicks", "memorability", "seed"):
        assert verb in said
