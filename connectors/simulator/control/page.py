"""The control page: companies, their newest invoices with a button each, deliveries, calls.

Reads: the simulator. Writes: nothing itself; its buttons call the control API.
Guarantees: everything shown is escaped; the page works without anything from outside.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from connectors.simulator.api.company import Company
from connectors.simulator.books.records import Kind, Record
from connectors.simulator.simulator import Simulator

SHOWN = 15
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:72rem;padding:0 1rem;color:#21262a}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e3e5e8}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "button{font:inherit;padding:.15rem .6rem;cursor:pointer}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-bottom:.2rem}nav a{margin-right:1rem}.bad{color:#b00020}"
)
SCRIPT = """
async function act(path, body) {
  const headers = {'content-type': 'application/json'};
  const answer = await fetch(path, {method: 'POST', headers: headers, body: JSON.stringify(body || {})});
  if (!answer.ok) { alert(await answer.text()); }
  location.reload();
}
"""


class Page:
    """The simulator for a person."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def show(self, request: Request) -> Response:
        """The page of one company, the first by default."""
        companies = self.simulator.companies
        company = companies.get(request.query_params.get("realm", "")) or next(iter(companies.values()))
        links = "".join(f'<a href="/_sim?realm={realm}">{escape(one.name)}</a>' for realm, one in companies.items())
        body = (
            f"<h1>Intuit simulator</h1><nav>{links}</nav><h2>{escape(company.name)} <small>{company.realm}</small></h2>"
            f"{self._counts(company)}{self._buttons(company)}{self._invoices(company)}{self._deliveries()}{self._calls(company)}"
        )
        head = f'<meta charset="utf-8"><title>Intuit simulator</title><style>{STYLE}</style><script>{SCRIPT}</script>'
        return HTMLResponse(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>')

    def _counts(self, company: Company) -> str:
        counts = (f"{len(records)} {kind}" for kind, records in company.book.records.items() if records)
        connected = "connected" if self.simulator.authority.is_connected(company.realm) else "not connected"
        return f"<p>{connected}; {', '.join(counts)}. Clock {self.simulator.clock.now():%Y-%m-%d %H:%M:%S} UTC.</p>"

    def _buttons(self, company: Company) -> str:
        path = f"/_sim/companies/{company.realm}/changes"
        kinds = (
            "invoice_created",
            "payment_created",
            "credit_memo_created",
            "credit_linked",
            "refund_given",
            "customer_renamed",
        )
        made = [
            f"<button onclick=\"act('{path}', {{kinds: ['{kind}']}})\">{kind.replace('_', ' ')}</button>"
            for kind in kinds
        ]
        made.append(f"<button onclick=\"act('{path}', {{count: 10}})\">ten random changes</button>")
        return f"<p>{' '.join(made)}</p>"

    def _invoices(self, company: Company) -> str:
        newest = list(company.book.records[Kind.INVOICE].values())[-SHOWN:][::-1]
        rows = "".join(self._invoice(company, record) for record in newest)
        words = ("No.", "Id", "Customer", "Date", "Reference", "Total", "Balance", "")
        head = "".join(f"<th{' class=n' if word in ('Total', 'Balance') else ''}>{word}</th>" for word in words)
        return f"<h2>Newest invoices</h2><table><tr>{head}</tr>{rows}</table>"

    def _invoice(self, company: Company, record: Record) -> str:
        book = company.book
        name = book.customers.shown_name(book.customer(str(record.customer_id)))
        here = f"/_sim/companies/{company.realm}/records/Invoice"
        line = '{Amount: 1234.5, DetailType: "SalesItemLineDetail", SalesItemLineDetail: {}}'
        change = escape(f"act('{here}', {{Id: '{record.id}', Line: [{line}]}})", quote=True)
        void, delete = (escape(f"act('{here}/{record.id}/{word}')", quote=True) for word in ("void", "delete"))
        texts = (
            record.fields.get("DocNumber", ""),
            record.id,
            name,
            record.fields["TxnDate"],
            record.custom.get("1", ""),
        )
        cells = "".join(f"<td>{escape(str(value))}</td>" for value in texts)
        amounts = "".join(f'<td class="n">{value:,.2f}</td>' for value in (record.total, book.open_amount(record)))
        buttons = (
            f'<button onclick="{change}">set to 1,234.50</button> <button onclick="{void}">void</button> '
            f'<button onclick="{delete}">delete</button>'
        )
        return f"<tr>{cells}{amounts}<td>{buttons}</td></tr>"

    def _deliveries(self) -> str:
        courier = self.simulator.courier
        found = list(courier.deliveries)[-SHOWN:][::-1]
        rows = "".join(
            f"<tr><td>{one.created_at:%H:%M:%S}</td><td class=n>{len(one.event_ids)}</td><td>{len(one.tries)}</td>"
            f"<td>{'acknowledged' if one.acknowledged else '<span class=bad>waiting</span>'}</td>"
            f"<td>{escape(str(one.tries[-1].status or one.tries[-1].error) if one.tries else '')}</td></tr>"
            for one in found
        )
        where = escape(courier.settings.url or "nowhere yet: set a webhook address")
        head = "<tr><th>Made</th><th class=n>Events</th><th>Tries</th><th>State</th><th>Last answer</th></tr>"
        return f"<h2>Deliveries</h2><p>to {where}; {len(courier.queue)} events queued.</p><table>{head}{rows}</table>"

    def _calls(self, company: Company) -> str:
        report = self.simulator.limits.report(company.realm)
        rows = "".join(
            f"<tr><td>{escape(route)}</td><td class=n>{count}</td></tr>" for route, count in report["routes"].items()
        )
        head = "<tr><th>Route</th><th class=n>Calls</th></tr>"
        return f"<h2>Calls</h2><p>{report['metered']} metered this month.</p><table>{head}{rows}</table>"
