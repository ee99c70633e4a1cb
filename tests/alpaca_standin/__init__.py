"""A local stand-in for Alpaca's paper API: account, orders with brackets, positions and market data on loopback.

    python tests/alpaca_standin --state FILE.sqlite [--bars BARS.parquet] [--clone N] [--key K --secret S]
                                [--now 2026-03-02T14:30:00Z] [--port P --control-port P] [--with-parent]

When it listens it prints one line of JSON: {"api": "http://127.0.0.1:PORT", "control": "http://127.0.0.1:PORT"}.
Killed and started again with the same --state it goes on where it was; only faults and the request log are lost.
There are no websockets: the client under test polls. Written from Alpaca's published description and from collected
error bodies, never from the code that is tested with it.

**Time** is virtual and stands still until control moves it (or sets mode "real"). Fills, cancels completing, expiry,
the release of queued orders and splits happen when the clock is moved over them, in order of their time.

**Fill models.** "quotes" (default): buys at the ask and sells at the bid, after `fill_delay_seconds`; a resting order
when the tape reaches its price; `partial_share` of the fills in two parts, the second with a later move of the clock
and not before `partial_rest_seconds`.
"bar_open": a market order at the open of the bar of its minute (else of the next bar), exits by whole bars once they
have ended: at the stop's or the target's price, at the open after a gap, the stop first. The last trade is then the
open of the running minute.

**Control port** (JSON): POST /reset {now}, GET/POST /clock {now | advance | mode}, GET/POST /settings,
GET/POST/DELETE /faults, POST /account {set, cash}, POST /keys {key, secret}, POST /bars {revise | hide | split},
POST /most_actives {extra, only}, GET /orders and /positions (the truth at once), GET/DELETE /requests (the log;
`unknown` names a path or parameter that the stand-in does not have). Settings: `settings.py`; faults and their
parameters: `faults.py`.

**Variants**: behaviour that nobody could confirm. POST /settings {"variants": {name: value}}; the default first.

    nested_open_shows_filled_parent   true | false    status=open&nested=true lists a filled entry with live legs;
                                                      false: its live legs are rows of their own
    stop_loss_after_target            canceled | replaced | expired
    target_after_stop                 canceled | replaced
    leg_replace_allowed_while_held    true | false    PATCH of a held stop leg, or of a leg before its entry fills
    legs_after_partial_close          capped | full   the legs' quantity when shares of a partly filled entry were sold
                                                      before its rest filled; full can end short
    shares_available_lag              false | true    exits are checked against the positions as shown, with their lag
    wash_trade_status                 403 | 422       with code 40310000 | 42210000
    bracket_lacks_leg_code            42210000 | 40010001
    blocked_body, inactive_body, not_tradable_body, unknown_asset_body, rate_limit_body
                                      any JSON object; {symbol} stands for the symbol
    unauthorized_status               403 | 401
    unknown_data_symbol               absent | error  a symbol without asset in a data request
    submit_answer_status              pending_new | accepted | new    of an order that is not queued
    canceled_again                    422 | 204       DELETE of an order that is already pending_cancel or canceled
    borrow_fields                     both | easy_to_borrow | borrow_status
    most_actives_before_open          previous | empty
    restate                           false | true    a bar is first published with less volume and another close,
                                                      and corrected 30 seconds later
"""
