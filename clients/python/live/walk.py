"""Every call of the client against a running server.

It is given an operator's key, and a receiver that answers 500 to paths that end with `fail`.
"""

import inspect
import os
import time

from ledgerhook import Client, Conflict, InvalidRequest, LedgerhookError, NotFound, Unauthorized

URL, KEY, RECEIVER = (os.environ[name] for name in ("LEDGERHOOK_URL", "LEDGERHOOK_KEY", "RECEIVER_URL"))
called = set()


class Watched(Client):
    def __getattribute__(self, name):
        called.add(name)
        return super().__getattribute__(name)


def until(ask, wanted):
    """Asks again until the answer is the one that is waited for."""
    while not wanted(answer := ask()):
        time.sleep(0.02)
    return answer


def refused(kind, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except LedgerhookError as error:
        assert isinstance(error, kind), repr(error)
        return error
    raise AssertionError(f"{call.__name__} is not refused")


def conversion(resource):
    return {"type": "conversion.created", "data": {"conversion_id": resource}}


def ended(pipeline, status):
    def ask():
        return list(client.list_deliveries(pipeline_id=pipeline, limit=1))

    return until(ask, lambda all_of_them: all_of_them and all(one["status"] == status for one in all_of_them))


client = Watched(URL, KEY)

# Webhooks and events.
webhook = client.create_webhook({"url": f"{RECEIVER}/ok", "events": ["conversion.created"], "name": "A"})
assert webhook["secret"].startswith("whsec_")
client.create_webhook({"url": f"{RECEIVER}/ok", "events": ["click.tracked"], "name": "B"})
assert [one["name"] for one in client.list_webhooks(limit=1)] == ["A", "B"]
renamed = client.update_webhook(webhook["id"], {"name": "C"}, if_version=webhook["version"])
assert client.get_webhook(webhook["id"])["name"] == "C"
refused(Conflict, client.update_webhook, webhook["id"], {"name": "D"}, if_version=webhook["version"])
assert renamed["version"] > webhook["version"]
assert client.reveal_secret(webhook["id"])["secret"] == webhook["secret"]
assert client.rotate_secret(webhook["id"])["secret"] != webhook["secret"]
assert client.test_webhook(webhook["id"])["status"] == "completed"

sent = client.send_event(conversion("conv_1"), idempotency_key="once")
assert client.send_event(conversion("conv_1"), idempotency_key="once")["id"] == sent["id"]
batch = client.send_events([conversion("conv_2"), {"type": "no such type"}])
assert (batch["accepted"], batch["refused"]) == (1, 1)
delivered = ended(webhook["id"], "delivered")
assert len(delivered) == 2
assert len(client.get_delivery(delivered[0]["id"])["attempts"]) == 1
assert client.get_event(sent["id"])["id"] == sent["id"]
assert len(list(client.list_events(type="conversion.created", limit=1))) == 2
assert [one["status"] for one in client.webhook_logs(webhook["id"])] == ["success", "success"]
assert len(list(client.list_executions(limit=1))) == 2
client.retry_delivery(delivered[0]["id"])
client.delete_webhook(webhook["id"])
refused(NotFound, client.get_webhook, webhook["id"])

# Pipelines: one that fails, and one that is paused.
step = {"url": f"{RECEIVER}/fail", "retry_policy": {"max_attempts": 1}}
draft = {"name": "Failing", "trigger_type": "conversion", "on_exhausted": "halt", "steps": [step]}
failing = client.create_pipeline(draft)
pipeline, step_id = failing["id"], failing["steps"][0]["id"]
assert client.get_pipeline(pipeline)["name"] == "Failing"
assert client.test_pipeline(pipeline)["status"] == "failed"
assert client.test_step({"url": f"{RECEIVER}/ok"})["http_status"] == 200
secret = client.reveal_step_secret(pipeline, step_id)["secret"]
assert client.rotate_step_secret(pipeline, step_id)["secret"] != secret
client.send_events([conversion("conv_3"), conversion("conv_4"), conversion("conv_5")])
ended(pipeline, "dead_lettered")
lanes = list(client.list_lanes(pipeline, limit=1))
assert [lane["state"] for lane in lanes] == ["held"] * 3
client.skip_lane(pipeline, lanes[0]["resource"])
client.resume_lane(pipeline, lanes[1]["resource"])
assert len(list(client.list_failures())) == 3
letters = list(client.list_dead_letters(limit=1))
assert len(letters) == 3
client.retry_dead_letter(letters[0]["id"])
client.delete_dead_letter(letters[1]["id"])
client.update_pipeline(pipeline, {"status": "paused"})
assert [one["id"] for one in client.list_pipelines(status="paused")] == [pipeline]
held = client.send_event(conversion("conv_6"))
[waiting] = client.list_deliveries(event_id=held["id"])
assert client.cancel_delivery(waiting["id"])["status"] == "cancelled"
assert client.stats()["summary"]
client.delete_pipeline(pipeline)

# Tenants and keys.
client.create_tenant({"id": "acme", "name": "Acme", "profile": "standard"})
client.update_tenant("acme", {"name": "Acme Corp"})
assert client.get_tenant("acme")["name"] == "Acme Corp"
assert len(list(client.list_tenants(limit=1))) >= 2
made = client.create_key("acme", {"scopes": ["read"]})
assert len(list(client.list_keys("acme", limit=1))) == 2
assert list(Client(URL, made["key"]).list_webhooks()) == list(Client(URL, KEY, tenant="acme").list_webhooks()) == []
public = client.signing_keys("acme")["keys"][0]["public_key"]
keys = client.rotate_signing_keys("acme", {"overlap_seconds": 60})["keys"]
assert [one["status"] for one in keys] == ["current", "former"] and keys[1]["public_key"] == public
client.delete_key("acme", made["id"])
refused(Unauthorized, Client(URL, made["key"]).list_webhooks().take, 1)
error = refused(InvalidRequest, client.create_tenant, {"name": "x", "profile": "nope"})
assert error.errors[0]["pointer"] == "/profile"

# The three trees of the providers.
types = {"attribution": "partner.created", "apexmediation": "payout.failed", "social": "post.created"}
for profile, kind in types.items():
    key = client.create_tenant({"id": profile, "name": profile, "profile": profile})["api_key"]["key"]
    own = Client(URL, key, profile=profile)
    draft = {"events": [kind], "secret": "a secret of twenty-four bytes or more"}
    first, _ = (own.create_webhook({"url": f"https://a.example/{number}", **draft}) for number in (1, 2))
    assert [one["url"][-1] for one in own.list_webhooks(limit=1)] == ["1", "2"]
    assert own.update_webhook(first["id"], {"status": "paused"})["status"] == "paused"
    assert own.reveal_secret(first["id"])["secret"] == draft["secret"]
    assert list(own.webhook_logs(first["id"])) == []
    own.delete_webhook(first["id"])
    refused(NotFound, own.get_webhook, first["id"])
    client.delete_tenant(profile)

# What is, and the proof of it.
assert len(client.audit(limit=1).take(3)) == 3
assert client.state()["position"] > 0
assert len(client.log(from_=1, limit=1).take(3)) == 3
assert client.verify_log()["sound"] is True
assert client.egress_ips()["ips"] is not None

calls = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
assert calls <= called, f"calls that were not made: {calls - called}"
print("walked through", len(calls), "calls")
