"""The checker is checked: a good history passes, and each of its damages is named."""

import copy
import json
import unittest

from .checker import check
from .load import conversion


def good():
    """Two pipelines' worth of life in a small history: a retry, a dead letter, its retry, a kill, a pause."""
    posts, requests, deliveries = [], [], []

    def post(number, resource, at, client=0):
        event = conversion(f"evt_{number}", resource, number)
        posts.append(
            {"id": event["id"], "client": client, "resource": resource, "event": event, "sent": at, "answered": at + 0.01}
            | {"status": 202, "position": 10 + number, "tries": 1}
        )

    def send(number, at, status, attempt, round_number=1, takes=0.02):
        event = posts[number]["event"]
        requests.append(
            {"path": "/hook", "event": event["id"], "delivery": f"d{number}", "attempt": attempt, "round": round_number}
            | {"resource": posts[number]["resource"], "body": json.dumps(event), "start": at, "wall": 1_000_000 + at}
            | {"timestamp": int(1_000_000 + at), "status": status, "end": None if status is None else at + takes}
        )

    def tell(number, status, attempts):
        made = [
            {"number": n, "round": r, "queue": "primary", "outcome": outcome, "http_status": code}
            for n, r, outcome, code in attempts
        ]
        deliveries.append(
            {"id": f"d{number}", "pipeline": "p", "event": f"evt_{number}", "status": status, "attempts": made}
        )

    fine, bad = ("success", 200), ("http_error", 500)
    post(0, "a", 1.0), post(1, "a", 1.1), post(2, "b", 1.2), post(3, "b", 1.3), post(4, "c", 30.0), post(5, "d", 31.0)
    # d0 is retried once, d1 waits for it.
    send(0, 1.02, 500, 1), send(0, 2.05, 200, 2), send(1, 2.10, 200, 1)
    tell(0, "delivered", [(1, 1, *bad), (2, 1, *fine)]), tell(1, "delivered", [(1, 1, *fine)])
    # d2 is exhausted and retried by a person behind d3; d5 stays dead.
    send(2, 3.0, 500, 1), send(2, 4.03, 500, 2), send(3, 4.1, 200, 1), send(2, 9.0, 200, 1, 2)
    tell(2, "delivered", [(1, 1, *bad), (2, 1, *bad), (1, 2, *fine)]), tell(3, "delivered", [(1, 1, *fine)])
    # A kill falls into d4's first attempt; the receiver had it.
    send(4, 30.1, 200, 1), send(4, 30.9, 200, 2)
    tell(4, "delivered", [(1, 1, "unknown", None), (2, 1, *fine)])
    send(5, 40.0, 500, 1), send(5, 41.03, 500, 2)
    tell(5, "dead_lettered", [(1, 1, *bad), (2, 1, *bad)])
    counts = {"delivered": 5, "dead_lettered": 1, "skipped": 0, "cancelled": 0}
    counts |= {"queued": 0, "in_flight": 0, "retrying": 0, "held": 0}
    state = {"position": 60, "digest": "ab", "deliveries": counts, "events": 6}
    return {
        "posts": posts,
        "requests": requests,
        "deliveries": deliveries,
        "dead": ["d5"],
        "counts": state,
        "before": state,
        "after": {**state, "position": 62},
        "replayed": [dict(state), dict(state), dict(state)],
        "problems": [],
        "outages": [(30.11, 30.8)],
        "stills": [{"pipeline": "p", "from": 50.0, "until": 60.0}],
        "attempts_max": 2,
        "delay": 1.0,
    }


def delivery(history, number):
    return next(one for one in history["deliveries"] if one["id"] == f"d{number}")


def of(history, number):
    return [one for one in history["requests"] if one["delivery"] == f"d{number}"]


def tag(value, **changes):
    value.update(changes)


def late(history, number, place, start):
    request = of(history, number)[place]
    tag(request, start=start, end=start + 0.02, wall=1_000_000 + start, timestamp=int(1_000_000 + start))


def copy_of(history, number, place, **changes):
    history["requests"].append({**copy.deepcopy(of(history, number)[place]), **changes})


#: What is done to a good history, and what has to be named.
DAMAGES = {
    "a delivery is gone": ("I1", lambda h: h["deliveries"].remove(delivery(h, 3))),
    "all deliveries are gone": ("I1", lambda h: h["deliveries"].clear()),
    "delivered without a request": ("I1", lambda h: [h["requests"].remove(r) for r in of(h, 3)]),
    "delivered on a 500": ("I1", lambda h: tag(of(h, 3)[0], status=500)),
    "delivered on a reset": ("I1", lambda h: tag(of(h, 1)[0], status=None, end=None)),
    "a state that there is not": ("I1", lambda h: tag(delivery(h, 3), status="lost")),
    "pending at rest": ("I9", lambda h: tag(delivery(h, 3), status="queued")),
    "held at rest": ("I9", lambda h: tag(delivery(h, 3), status="held")),
    "a delivery of nothing": ("I2", lambda h: tag(delivery(h, 3), event="evt_99")),
    "a refused event is sent": ("I2", lambda h: tag(h["posts"][3], status=422)),
    "a request of nothing": ("I2", lambda h: copy_of(h, 3, 0, delivery="d99", start=70.0, end=70.1)),
    "another amount is sent": ("I2", lambda h: tag(of(h, 3)[0], body=of(h, 3)[0]["body"].replace("49.99", "50.99"))),
    "two deliveries of one event": (
        "I3",
        lambda h: h["deliveries"].append({**copy.deepcopy(delivery(h, 3)), "id": "d33"}),
    ),
    "a later event overtakes its answer": ("I6", lambda h: tag(h["posts"][1], position=9)),
    "two events at one position": ("I6", lambda h: tag(h["posts"][3], position=12)),
    "a later event is sent first": ("I5", lambda h: late(h, 1, 0, 1.0)),
    "an earlier event is sent again": ("I5", lambda h: late(h, 0, 1, 2.5)),
    "two at once": ("I7", lambda h: late(h, 1, 0, 2.06)),
    "an answer that comes late": ("I7", lambda h: tag(of(h, 0)[1], end=2.5)),
    "sent while it was paused": ("I10", lambda h: late(h, 3, 0, 55.0)),
    "sent behind a delete": ("I10", lambda h: h["stills"].append({"pipeline": "p", "from": 4.05, "until": 4.2})),
    "an attempt is not counted": ("I11", lambda h: delivery(h, 0)["attempts"].pop(0)),
    "numbers begin with two": ("I11", lambda h: tag(delivery(h, 3)["attempts"][0], number=2)),
    "a number falls": ("I11", lambda h: tag(of(h, 0)[1], attempt=1)),
    "more attempts than there may be": (
        "I11",
        lambda h: copy_of(h, 5, 1, attempt=3, start=42.06, end=42.08, wall=1_000_042.06, timestamp=1_000_042),
    ),
    "a number twice": ("I27", lambda h: tag(delivery(h, 0)["attempts"][1], number=1)),
    "another status is told": ("I12", lambda h: tag(delivery(h, 0)["attempts"][0], http_status=503)),
    "an attempt too many is told": (
        "I12",
        lambda h: delivery(h, 3)["attempts"].append({**delivery(h, 3)["attempts"][0], "number": 2}),
    ),
    "a request that is not told": (
        "I12",
        lambda h: copy_of(h, 3, 0, attempt=2, status=500, start=5.15, end=5.17, wall=1_000_005.15, timestamp=1_000_005),
    ),
    "taken and sent again": (
        "I13",
        lambda h: copy_of(h, 3, 0, attempt=2, start=5.15, end=5.17, wall=1_000_005.15, timestamp=1_000_005),
    ),
    "a kill that does not excuse": ("I13", lambda h: h["outages"].__setitem__(0, (20.0, 20.5))),
    "too early": ("I14", lambda h: late(h, 0, 1, 1.9)),
    "too late": ("I14", lambda h: late(h, 5, 1, 45.0)),
    "another body in a retry": ("I16", lambda h: tag(of(h, 0)[1], body=of(h, 0)[1]["body"] + " ")),
    "another id in a retry": ("I16", lambda h: tag(of(h, 0)[1], event="evt_1")),
    "another path in a retry": ("I16", lambda h: tag(of(h, 0)[1], path="/other")),
    "a timestamp of the event": ("I17", lambda h: tag(of(h, 0)[0], timestamp=1_705_314_900)),
    "dead without an item": ("I18", lambda h: h["dead"].clear()),
    "an item of what was delivered": ("I18", lambda h: h["dead"].append("d3")),
    "two items of one delivery": ("I18", lambda h: h["dead"].append("d5")),
    "an item of nothing": ("I18", lambda h: h["dead"].append("d99")),
    "dead, and a receiver has it": ("I18", lambda h: tag(of(h, 5)[1], status=200)),
    "fewer events than were accepted": ("I20", lambda h: h["counts"].update(events=5)),
    "counts that do not add up": ("I20", lambda h: h["counts"]["deliveries"].update(delivered=4)),
    "a digest that a restart changes": ("I21", lambda h: h["after"].update(digest="cd")),
    "counts that a restart changes": (
        "I21",
        lambda h: h["after"].update(deliveries={**h["after"]["deliveries"], "delivered": 4}),
    ),
    "a fold that comes out otherwise": ("I21", lambda h: h["replayed"][1].update(digest="cd")),
    "a log that does not verify": ("I22", lambda h: h["problems"].append("segment 1: checksum")),
}


class Checker(unittest.TestCase):
    def test_a_good_history_passes(self):
        self.assertEqual(check(good()), [])

    def test_every_damage_is_named(self):
        self.assertGreaterEqual(len(DAMAGES), 30)
        for name, (invariant, damage) in DAMAGES.items():
            with self.subTest(name):
                history = copy.deepcopy(good())
                damage(history)
                self.assertIn(invariant, {broken for broken, _ in check(history)})


if __name__ == "__main__":
    unittest.main()
