"""The support desk of a shop as an MCP server: seven tools with made-up data, to try assistants with.

python server.py                speaks over standard input and output
python server.py --http 8765    at http://127.0.0.1:8765/mcp (streamable HTTP)
python server.py --sse 8765     at http://127.0.0.1:8765/sse
"""

import argparse
import json
from html import escape
from typing import Annotated

from mcp.server import MCPServer
from mcp_types import ContentBlock, EmbeddedResource, TextContent, TextResourceContents
from pydantic import Field

CUSTOMERS = {
    "C001": {"membership_level": "Gold", "account_status": "Active"},
    "C002": {"membership_level": "Silver", "account_status": "Pending"},
    "C003": {"membership_level": "Bronze", "account_status": "Inactive"},
}
PRODUCTS = {
    "P001": {"name": "Wireless Earbuds", "price": 79.99, "stock": 50},
    "P002": {"name": "Smart Watch", "price": 199.99, "stock": 30},
    "P003": {"name": "Laptop Backpack", "price": 49.99, "stock": 100},
}

CustomerId = Annotated[str, Field(description="The customer's id, such as C001")]
OrderId = Annotated[str, Field(description="The order's id")]
ProductId = Annotated[str, Field(description="The product's id, such as P001")]

desk = MCPServer("support_desk", log_level="WARNING")


@desk.tool(structured_output=False)
def get_customer_info(customer_id: CustomerId) -> str:
    """Tell a customer's membership level and account status."""
    customer = CUSTOMERS.get(customer_id)
    if customer is None:
        return f"Customer with ID {customer_id} not found."
    return json.dumps({"customer_id": customer_id, **customer})


@desk.tool(structured_output=False)
def check_order_status(customer_id: CustomerId, order_id: OrderId) -> list[ContentBlock]:
    """Tell where a customer's order is."""
    status = "In Transit"
    card = _card("Order status", {"Order": order_id, "Customer": customer_id, "Status": status})
    return [card, _text(f"Order {order_id} status for customer {customer_id}: {status}")]


@desk.tool(structured_output=False)
def process_return(
    customer_id: CustomerId, order_id: OrderId, reason: Annotated[str, Field(description="Why it is sent back")]
) -> str:
    """Start the return of an order."""
    return (
        f"Return for order {order_id} initiated by customer {customer_id}. Reason: {reason}. "
        "Please expect a refund within 5-7 business days."
    )


@desk.tool(structured_output=False)
def get_product_info(customer_id: CustomerId, product_id: ProductId) -> str:
    """Tell a product's name, price and stock."""
    product = PRODUCTS.get(product_id)
    found = "Product not found" if product is None else json.dumps(product)
    return f"Product information for customer {customer_id}: {found}"


@desk.tool(structured_output=False)
def update_account_info(
    customer_id: CustomerId,
    field: Annotated[str, Field(description="What to change: email, phone, address ...")],
    value: Annotated[str, Field(description="The new value")],
) -> str:
    """Change something in a customer's account."""
    return f"Account information updated for customer {customer_id}. {field.capitalize()} changed to: {value}"


@desk.tool(structured_output=False)
def cancel_order(
    customer_id: CustomerId, order_id: OrderId, reason: Annotated[str, Field(description="Why it is cancelled")]
) -> list[ContentBlock]:
    """Cancel a customer's order."""
    card = _card("Order cancelled", {"Order": order_id, "Customer": customer_id, "Reason": reason})
    said = f"Order {order_id} for customer {customer_id} has been cancelled. Reason: {reason}. "
    return [card, _text(f"{said}A confirmation email has been sent.")]


@desk.tool(structured_output=False)
def schedule_callback(
    customer_id: CustomerId, callback_time: Annotated[str, Field(description="When to call back, in ISO 8601")]
) -> list[ContentBlock]:
    """Have a representative call a customer back."""
    card = _card("Callback scheduled", {"Customer": customer_id, "Time": callback_time})
    said = f"Callback scheduled for customer {customer_id} at {callback_time}. "
    return [card, _text(f"{said}A representative will contact you then.")]


def _card(title: str, rows: dict[str, str]) -> EmbeddedResource:
    """Return a small table in HTML; whatever a customer has said in it is only text."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    html = f"<section><h3>{escape(title)}</h3><table>{body}</table></section>"
    uri = f"card://{title.lower().replace(' ', '-')}"
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type="text/html", text=html))


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def main() -> None:
    """Serve until the client goes away, or until a signal."""
    parser = argparse.ArgumentParser(description="The support desk of a shop as an MCP server.")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--http", type=int, metavar="PORT", help="listen on the loopback address, streamable HTTP")
    place.add_argument("--sse", type=int, metavar="PORT", help="listen on the loopback address, HTTP with SSE")
    chosen = parser.parse_args()
    if chosen.http is not None:
        desk.run("streamable-http", host="127.0.0.1", port=chosen.http)
    elif chosen.sse is not None:
        desk.run("sse", host="127.0.0.1", port=chosen.sse)
    else:
        desk.run("stdio")


if __name__ == "__main__":
    main()
