"""Flags are counted by their kind, whatever their texts say."""

from focusmap.study.flags import Flag, count_rows, flags_in_words, said_by_models, side_by_side

LOW = Flag("outside", "age 9 lies below train")
ODD = Flag("unseen", "note lies below train; and more is not in train")


def test_rows_are_counted_by_kind_and_each_once():
    rows = [(LOW, Flag("outside", "size 1 lies below train")), (ODD,), (), (LOW, ODD)]
    assert count_rows(rows, "outside") == 2
    assert count_rows(rows, "unseen") == 2
    assert count_rows(rows, "unlike") == 0


def test_a_flag_of_some_models_keeps_its_kind_and_is_one_flag_whatever_its_text_holds():
    found = said_by_models([(LOW, ODD), (LOW,), (LOW, ODD)])
    assert found == (LOW, Flag("unseen", f"{ODD.text} of 2 of 3 models"))
    assert said_by_models([(), ()]) == ()


def test_what_several_say_of_the_same_rows_stands_side_by_side():
    assert side_by_side([(LOW,), ()], [(ODD,), ()]) == ((LOW, ODD), ())
    assert side_by_side([(LOW,), ()], [(LOW, ODD), ()]) == ((LOW, ODD), ()), "each is said once"
    assert flags_in_words(()) == ""
