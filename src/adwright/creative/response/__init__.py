"""Click rate of creatives: how often will this ad be clicked, before it has run?"""
