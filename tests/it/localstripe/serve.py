"""localstripe on a free port of 127.0.0.1, with what comanda needs of Stripe's API and it lacks.

usage: serve.py LATENCY_MS

Prints {url}, then a line for each request that was carried out: {by, method, path, key, order_id,
status, found}. `found` has the state of each payment that a search found.

localstripe (https://github.com/adrienverge/localstripe) ignores idempotency keys, and nothing here
changes that: a charge that is sent twice is there twice. Added, on its own objects:

- The search for payments by metadata, which it has not. It is never behind.
- Parameters that Stripe takes and that it refuses as unknown are left out: description and
  automatic_payment_methods of a payment, reason of a refund. It does the same without them.
- What was given back whole is not given back again: Stripe answers charge_already_refunded under
  whatever key, localstripe gives it back as often as it is asked. The line of the request tells.
- A request takes LATENCY_MS, half of it before it is carried out and half before the answer. It is
  carried out, too, where nobody waits for the answer any more.
- Its state stays in memory; it would write all of it to one file in /tmp at each change, and so do
  all that run.
"""

import asyncio
import json
import re
import sys

from aiohttp import web

from localstripe import resources
from localstripe.errors import UserError

SEARCH = "/v1/payment_intents/search"
TERM = re.compile(r"metadata\['(\w+)'\]:'([^']*)'")

resources.Store.dump_to_disk = lambda store: None


class SearchResult(resources.List):
    object = "search_result"


def terms(query):
    found = [TERM.fullmatch(term) for term in query.split(" AND ")]
    if not all(found):
        raise UserError(400, "Only terms of metadata joined by AND are understood")
    return {term[1]: term[2] for term in found}


def search(query, limit=None):
    wanted = terms(query).items()
    result = SearchResult(SEARCH, limit=limit)
    result._list = [
        intent
        for key, intent in resources.store.items()
        if key.startswith("payment_intent:") and wanted <= intent.metadata.items()
    ]
    return result


def leave_out(cls, *names):
    create = cls._api_create
    cls._api_create = lambda **data: create(**{k: v for k, v in data.items() if k not in names})


def refund_once(cls):
    create = cls._api_create

    def create_once(**data):
        intent = resources.store.get(f"payment_intent:{data.get('payment_intent')}")
        if intent and intent.latest_charge and intent.latest_charge.refunded:
            code = {"code": "charge_already_refunded"}
            raise UserError(400, "The charge was given back before", code)
        return create(**data)

    cls._api_create = create_once


leave_out(resources.PaymentIntent, "description", "automatic_payment_methods")
leave_out(resources.Refund, "reason")
refund_once(resources.Refund)
resources.extra_apis.append(("GET", SEARCH, search))

# Makes its routes of what is there when it is imported.
from localstripe import server  # noqa: E402


def say(what):
    print(json.dumps(what), flush=True)


async def told(request, answer):
    order_id, found = None, []
    if request.method == "POST":
        data = await server.get_post_data(request) or {}
        order_id = data.get("metadata", {}).get("order_id")
    elif request.path == SEARCH and answer.status == 200:
        order_id = terms(request.query["query"]).get("order_id")
        found = [intent["status"] for intent in json.loads(answer.text)["data"]]
    return {
        "by": server.get_api_key(request),
        "method": request.method,
        "path": request.path,
        "key": request.headers.get("Idempotency-Key"),
        "order_id": order_id,
        "status": answer.status,
        "found": found,
    }


async def main(latency):
    @web.middleware
    async def slow(request, handler):
        # While it is there: it goes with the connection.
        await request.read()
        await asyncio.sleep(latency / 2)
        answer = await handler(request)
        say(await told(request, answer))
        await asyncio.sleep(latency / 2)
        return answer

    # Outermost, so that it sees what becomes of errors.
    server.app.middlewares.insert(0, slow)
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    say({"url": f"http://{host}:{port}"})
    await asyncio.Event().wait()


asyncio.run(main(float(sys.argv[1]) / 1000))
