"""Awkward answers that are prose, in several languages, or none at all."""

from __future__ import annotations

from tests.support.audit.answers import Case

__all__ = ["REFUSED", "SILENT", "SPOKEN"]

SPOKEN = (
    Case("I recommend the Cappuccino King, then the Brew.", "KW", "named"),
    Case("Get the LatteArt Pro Max. The LatteArt Pro is fine too.", "ML", "named"),
    Case("Cappuccino King", "K", "named"),
    Case("Cappuccino King, Brew, CafePro Elite", "KWP", "named"),
    Case("Cappuccino King > Brew > CafePro Elite", "KWP", "named"),
    Case("Cappuccino King; Brew; Cappuccino King", "KW", "named"),
    Case("Avoid the Brew. Take the Cappuccino King.", "K", "named"),
    Case("I would not recommend Brew. CafePro Elite is great!", "P", "named"),
    Case("I wouldn't buy Brew.\nCafePro Elite is great.", "P", "named"),
    Case("Brew isn't worth it. CafePro Elite is.", "P", "named"),
    Case("Instead of Brew, think again. CafePro Elite is the one.", "P", "named"),
    Case("Skip the Brew! The CafePro Elite is my choice.", "P", "named"),
    Case("Brewing with a homebrew kit? Take the CafePro Elite.", "P", "named"),
    Case("My first choice is the espresso master 2000.", "E", "named"),
    Case("grind-and-brew plus it is", "G", "named"),
    Case("GRIND&BREW PLUS!!!", "G", "named"),
    Case("The *French*Press Classic is good.", "F", "named"),
    Case("Ich empfehle den Cappuccino King und danach Brew.", "KW", "named"),
    Case("Je vous conseille le CafePro Elite, puis le Brew.", "PW", "named"),
    Case("Le recomiendo la LatteArt Pro y luego la Brew.", "LW", "named"),
    Case("Consiglio Cappuccino King, poi Brew.", "KW", "named"),
    Case("我推荐Cappuccino King，其次是Brew。", "KW", "named"),
    Case("おすすめはCappuccino Kingです。次はBrewです。", "KW", "named"),
    Case("저는 Cappuccino King을 추천합니다. 다음은 Brew입니다.", "KW", "named"),
    Case("Рекомендую Cappuccino King, затем Brew.", "KW", "named"),
    Case("أنصح بـ Cappuccino King ثم Brew", "KW", "named"),
    Case("Ｃａｐｐｕｃｃｉｎｏ Ｋｉｎｇ", "K", "named"),
    Case("There are 10 cups in it; the Cappuccino King, that is.", "K", "named"),
    Case("Cappuccino\nKing", "K", "named"),
    Case("<think>Brew? No.</think>Cappuccino King.", "K", "named"),
    Case("Sorry for the wait! The Cappuccino King.", "K", "named"),
    Case("The winner: EspressoMaster 2000.", "E", "named"),
    Case("The EspressoMaster 3000 is new; the EspressoMaster 2000 is proven.", "E", "named"),
)
REFUSED = (
    Case("I'm sorry, but I can't recommend products.", "", "none"),
    Case("I cannot help with that.", "", "none"),
    Case("As an AI, I have no taste.", "", "none"),
    Case("Je suis désolé.", "", "none"),
    Case("Lo siento, no puedo ayudarle.", "", "none"),
    Case("Das kann ich nicht beantworten.", "", "none"),
    Case("抱歉，我无法推荐。", "", "none"),
    Case("申し訳ありません。", "", "none"),
    Case("Извините, не могу помочь.", "", "none"),
    Case("I won't do that.", "", "none"),
)
SILENT = (
    Case("", "", "none"),
    Case(" \n\t ", "", "none"),
    Case("It depends on your taste.", "", "none"),
    Case("{}", "", "none"),
    Case("[]", "", "none"),
    Case("1. 2. 3.", "", "none"),
    Case("\x00\ufffd", "", "none"),
    Case("French press machines are classic.", "", "none"),
    Case("Avoid the Brew.", "", "none"),
    Case("***", "", "none"),
)
