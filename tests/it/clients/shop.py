"""gql: places an order over HTTP, reads it with its receipt, watches it over a WebSocket until it
is paid.

usage: shop.py URL API_KEY INPUT

Prints {placed, read, watched}: the order's status after each step.
"""

import asyncio
import json
import sys

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.websockets import WebsocketsTransport

PLACE = """mutation Place($input: PlaceOrderInput!) {
  placeOrder(input: $input) { order { id status } receipt { token } errors { code message } }
}"""
ORDER = """query Order($id: ID!, $receipt: String) {
  order(id: $id, receipt: $receipt) { status totalMinor }
}"""
WATCH = """subscription Watch($id: ID!) {
  orderUpdates(orderId: $id) { type order { status } }
}"""


def operation(text: str, **values):
    document = gql(text)
    document.variable_values = values
    return document


async def main(url: str, key: str, order: dict) -> dict:
    authorization = {"authorization": f"Bearer {key}"}
    http = AIOHTTPTransport(url=url, headers=authorization)
    # The schema is fetched and each document checked against it before it is sent.
    async with Client(transport=http, fetch_schema_from_transport=True) as client:
        placed = (await client.execute(operation(PLACE, input=order)))["placeOrder"]
        assert not placed["errors"], placed
        wanted = {"id": placed["order"]["id"], "receipt": placed["receipt"]["token"]}
        read = (await client.execute(operation(ORDER, **wanted)))["order"]
    socket = WebsocketsTransport(
        url=url.replace("http", "ws", 1),
        init_payload=authorization,
        subprotocols=["graphql-transport-ws"],
    )
    async with Client(transport=socket) as client:
        async for update in client.subscribe(operation(WATCH, id=wanted["id"])):
            watched = update["orderUpdates"]["order"]["status"]
            if watched == "PAID":
                break
    return {"placed": placed["order"]["status"], "read": read["status"], "watched": watched}


url, key, order = sys.argv[1:]
print(json.dumps(asyncio.run(asyncio.wait_for(main(url, key, json.loads(order)), 60))))
