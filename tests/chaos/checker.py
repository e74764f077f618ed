"""Decides the invariants of a run from clients' records, receivers' records and the API at rest.

It knows nothing of the engine but its public documents. A history is plain data:

    posts       what clients sent: id, client, resource, event, sent, answered, status, position
    requests    what receivers saw: event, delivery, attempt, round, resource, body, path, start, end, status
    deliveries  what the API tells: id, pipeline, event, status, attempts (number, round, queue, outcome, http_status)
    dead        open dead letters: delivery
    counts      `GET /api/state`: deliveries by state, events
    outages     from a kill to the moment when the next process was ready
    stills      from the answer to a pause (or a delete) to the sending of its resume: pipeline, from, until
    pipelines, attempts_max, delay, timeout
    before, after   `GET /api/state` around a restart at rest
    replayed    `log replay` to the same position, as often as it was run
    problems    what `log verify` found
"""

import json
from collections import defaultdict

ENDED = ("delivered", "dead_lettered", "skipped", "cancelled")
PENDING = ("queued", "in_flight", "retrying", "held")


def check(history):
    """All that is broken: pairs of invariant and text."""
    run = Run(history)
    for rule in (
        run.nothing_lost,
        run.nothing_invented,
        run.once,
        run.acceptance_order,
        run.lane_order,
        run.one_in_flight,
        run.stillness,
        run.attempt_numbers,
        run.attempts_match,
        run.no_needless_repeats,
        run.backoff,
        run.same_bytes,
        run.dead_letters,
        run.sums,
        run.folds,
    ):
        rule()
    return run.breaks


class Run:
    def __init__(self, history):
        self.__dict__.update(
            {"outages": [], "stills": [], "pipelines": 1, "attempts_max": 8, "delay": None, "dead": [], "replayed": []}
        )
        self.__dict__.update({"counts": None, "before": None, "after": None, "problems": [], "timeout": 10.0})
        self.__dict__.update(history)
        self.breaks = []
        self.by_id = {post["id"]: post for post in self.posts}
        self.sent = defaultdict(list)
        for request in self.requests:
            self.sent[request["delivery"]].append(request)
        for requests in self.sent.values():
            requests.sort(key=lambda request: request["start"])
        self.of_event = defaultdict(list)
        for delivery in self.deliveries:
            self.of_event[delivery["event"]].append(delivery)

    def add(self, invariant, text):
        self.breaks.append((invariant, text))

    def cut(self, start, end):
        """Whether the engine was down in this time, or within a second behind it."""
        end = float("inf") if end is None else end + 1.0
        return any(ready >= start and killed <= end for killed, ready in self.outages)

    # ---- durability ----

    def nothing_lost(self):
        """I1, I9"""
        for post in self.posts:
            if post["status"] and 200 <= post["status"] < 300 and len(self.of_event[post["id"]]) < self.pipelines:
                self.add("I1", f"{post['id']} was accepted and has {len(self.of_event[post['id']])} deliveries")
        for delivery in self.deliveries:
            reached = any(is_success(request) for request in self.sent[delivery["id"]])
            if delivery["status"] == "delivered" and not reached:
                self.add("I1", f"{delivery['id']} counts as delivered, and no receiver has it")
            elif delivery["status"] in PENDING:
                self.add("I9", f"{delivery['id']} is {delivery['status']} at rest")
            elif delivery["status"] not in ENDED:
                self.add("I1", f"{delivery['id']} is {delivery['status']}")

    def nothing_invented(self):
        """I2"""
        known = {delivery["id"] for delivery in self.deliveries}
        for delivery in self.deliveries:
            post = self.by_id.get(delivery["event"])
            if post is None:
                self.add("I2", f"{delivery['id']} is of an event that nobody posted")
            elif post["status"] and 400 <= post["status"] < 500:
                self.add("I2", f"{delivery['id']} is of an event that was refused with {post['status']}")
        for request in self.requests:
            if request["delivery"] not in known:
                self.add("I2", f"a request of an unknown delivery {request['delivery']}")
            post = self.by_id.get(request["event"])
            if post is not None and not same(json.loads(request["body"]), post["event"]):
                self.add("I2", f"the body of {request['event']} is not what was posted")

    def once(self):
        """I3"""
        for event, deliveries in self.of_event.items():
            if len({delivery["pipeline"] for delivery in deliveries}) < len(deliveries):
                self.add("I3", f"{event} has {len(deliveries)} deliveries")

    def acceptance_order(self):
        """I6: what was sent after another's answer stands behind it."""
        accepted = [post for post in self.posts if post["position"] is not None]
        positions = [post["position"] for post in accepted]
        if len(set(positions)) < len(positions):
            self.add("I6", "two events have one position")
        answers = sorted((post["answered"], post["position"]) for post in accepted)
        highest, at = 0, 0
        for post in sorted(accepted, key=lambda post: post["sent"]):
            while at < len(answers) and answers[at][0] < post["sent"]:
                highest = max(highest, answers[at][1])
                at += 1
            if post["position"] <= highest:
                self.add("I6", f"{post['id']} at {post['position']} was sent after {highest} had been answered")

    # ---- order ----

    def lanes(self):
        lanes = defaultdict(list)
        pipelines = {delivery["id"]: delivery["pipeline"] for delivery in self.deliveries}
        for request in self.requests:
            lanes[pipelines.get(request["delivery"]), request["resource"]].append(request)
        for lane, requests in lanes.items():
            yield lane, sorted(requests, key=lambda request: request["start"])

    def lane_order(self):
        """I5: after the first request for an event, none for an earlier one, save by a retry from the dead letters."""
        for (_, resource), requests in self.lanes():
            highest = 0
            for request in requests:
                post = self.by_id.get(request["event"])
                if request["round"] > 1 or post is None or post["position"] is None:
                    continue
                if post["position"] < highest:
                    self.add("I5", f"{resource}: {request['event']} after a later one")
                highest = max(highest, post["position"])

    def one_in_flight(self):
        """I7"""
        for (_, resource), requests in self.lanes():
            for before, after in zip(requests, requests[1:]):
                overlaps = before["end"] is None or before["end"] > after["start"]
                # An engine that was killed, or gave up at its deadline, does not know of the receiver's end.
                given_up = after["start"] - before["start"] >= self.timeout
                if overlaps and not given_up and not self.cut(before["start"], before["end"]):
                    self.add("I7", f"{resource}: {before['event']} and {after['event']} at once")

    def stillness(self):
        """I10"""
        pipelines = {delivery["id"]: delivery["pipeline"] for delivery in self.deliveries}
        for still in self.stills:
            for request in self.requests:
                if pipelines.get(request["delivery"]) == still["pipeline"] and still["from"] < request["start"] < still["until"]:
                    self.add("I10", f"{request['delivery']} was sent while its pipeline was paused")

    # ---- attempts ----

    def attempt_numbers(self):
        """I11, I27"""
        for delivery in self.deliveries:
            rounds = defaultdict(list)
            for attempt in delivery["attempts"]:
                rounds[attempt["round"]].append(attempt["number"])
            for number, attempts in rounds.items():
                if sorted(set(attempts)) != sorted(attempts):
                    self.add("I27", f"{delivery['id']}: a number twice in round {number}: {attempts}")
                if attempts != list(range(1, len(attempts) + 1)):
                    self.add("I11", f"{delivery['id']}: round {number} has attempts {attempts}")
            sent = self.sent[delivery["id"]]
            for before, after in zip(sent, sent[1:]):
                if (after["round"], after["attempt"]) <= (before["round"], before["attempt"]):
                    self.add("I11", f"{delivery['id']}: attempt {after['attempt']} after {before['attempt']}")
            first = [request for request in sent if request["round"] == 1]
            kills = sum(self.cut(request["start"], request["end"]) for request in first)
            if len(first) > self.attempts_max + kills:
                self.add("I11", f"{delivery['id']}: {len(first)} requests")

    def attempts_match(self):
        """I12"""
        for delivery in self.deliveries:
            sent = self.sent[delivery["id"]]
            attempts = delivery["attempts"]
            if any(self.cut(request["start"], request["end"]) for request in sent):
                continue
            if any(attempt["outcome"] == "unknown" for attempt in attempts):
                continue
            # What never arrived was never seen.
            told = [attempt for attempt in attempts if attempt["outcome"] in ("success", "http_error")]
            seen = [request["status"] for request in sent if request["status"] is not None]
            if [attempt["http_status"] for attempt in told] != seen:
                self.add("I12", f"{delivery['id']}: {[a['http_status'] for a in told]} told, {seen} seen")

    def no_needless_repeats(self):
        """I13"""
        for name, sent in self.sent.items():
            for before, after in zip(sent, sent[1:]):
                excused = after["round"] > before["round"] or self.cut(before["start"], before["end"])
                if is_success(before) and not excused:
                    self.add("I13", f"{name} was taken and sent again")

    def backoff(self):
        """I14, where the delay is fixed."""
        if self.delay is None:
            return
        for name, sent in self.sent.items():
            for before, after in zip(sent, sent[1:]):
                if before["end"] is None or after["round"] > before["round"]:
                    continue
                if self.cut(before["start"], after["start"]):
                    continue
                gap = after["start"] - before["end"]
                if not self.delay - 0.05 <= gap <= self.delay + 1.0:
                    self.add("I14", f"{name}: {gap:.3f} s between two attempts instead of {self.delay}")

    def same_bytes(self):
        """I16, I17 (its timestamp)"""
        for name, sent in self.sent.items():
            for request in sent[1:]:
                if request["body"] != sent[0]["body"] or request["event"] != sent[0]["event"]:
                    self.add("I16", f"{name}: attempt {request['attempt']} has other bytes")
                if request["path"] != sent[0]["path"]:
                    self.add("I16", f"{name}: {request['path']} after {sent[0]['path']}")
            for request in sent:
                if request.get("timestamp") and abs(request["timestamp"] - request["wall"]) > 2:
                    self.add("I17", f"{name}: timestamp {request['timestamp']} at {request['wall']:.0f}")

    # ---- dead letters, sums, state ----

    def dead_letters(self):
        """I18"""
        if len(set(self.dead)) < len(self.dead):
            self.add("I18", "two open items of one delivery")
        for delivery in self.deliveries:
            is_dead = delivery["id"] in self.dead
            if is_dead != (delivery["status"] == "dead_lettered"):
                self.add("I18", f"{delivery['id']} is {delivery['status']}, and its item is open: {is_dead}")
            sent = self.sent[delivery["id"]]
            last = max((request["round"] for request in sent), default=1)
            taken = [r for r in sent if r["round"] == last and is_success(r)]
            if is_dead and any(not self.cut(request["start"], request["end"]) for request in taken):
                self.add("I18", f"{delivery['id']} is dead, and a receiver has it")
        for item in set(self.dead) - {delivery["id"] for delivery in self.deliveries}:
            self.add("I18", f"a dead letter of an unknown delivery {item}")

    def sums(self):
        """I20"""
        accepted = {post["id"] for post in self.posts if post["status"] and 200 <= post["status"] < 300}
        listed = len(self.deliveries)
        if not len(accepted) * self.pipelines <= listed <= len(self.posts) * self.pipelines:
            self.add("I20", f"{listed} deliveries of {len(accepted)} accepted events")
        if self.counts is None:
            return
        for name in ENDED + PENDING:
            told = self.counts["deliveries"].get(name, 0)
            counted = sum(delivery["status"] == name for delivery in self.deliveries)
            if told != counted:
                self.add("I20", f"{told} {name} told, {counted} listed")
        if self.counts["events"] * self.pipelines != listed:
            self.add("I20", f"{self.counts['events']} events told, {listed} deliveries listed")

    def folds(self):
        """I21, I22"""
        if self.before is not None and not alike(self.before, self.after):
            self.add("I21", f"{self.before} before a restart, {self.after} behind it")
        for replayed in self.replayed:
            if replayed != self.before:
                self.add("I21", f"a replay gives {replayed}, the engine {self.before}")
        for problem in self.problems:
            self.add("I22", problem)


def is_success(request):
    return request["status"] is not None and 200 <= request["status"] < 300


def alike(before, after):
    """A start adds its own fact, so the position moves; nothing else may."""
    return all(before[key] == after[key] for key in ("digest", "deliveries", "events"))


def same(sent, posted):
    """What was posted is in what was sent; renderings may add fields of their own."""
    return all(sent.get(key) == posted[key] for key in ("id", "type", "timestamp", "data"))
