"""What a person sees, made of numbers and of text: it reads no settings, and knows money, probabilities and prices.

figures         the figures of a report, how numbers are written; learnt: what was learnt; outlook: what would change it
comparisons     what the account is held against: the market, chance, prices before cost
page            the HTML page; page_trades, page_learning: its sections; page_script: what it does; markup: its blocks
summary         the report on a terminal
plots           curves and small pictures as SVG; plots_trades: a trade on candles
view            all that one screen shows; screen: how it is laid out; live_screen: kept on the terminal
"""
