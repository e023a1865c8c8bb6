"""What happens to customers: clients come, jobs begin, are renamed, merged, retired, and taken up again.

Reads: the firm. Writes: customers, IntoAEC's projects, and where each customer's papers belong from then on.
Guarantees: a customer's note is written when the customer is, by the one who knows why it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.simulator.api.company import Project
from connectors.simulator.books.notes import NOTHING, Note, Why, below, known
from connectors.simulator.books.records import Kind, Record
from connectors.simulator.life.firm import SITES_UNDER_WAY, Firm, Site
from connectors.simulator.life.happenings import FIRST, JOBS, SECOND, Impossible

CURRENCIES = ("USD", "USD", "USD", "CAD", "EUR")


def new_client(firm: Firm) -> None:
    """Somebody orders for the first time; nothing is decided about him yet."""
    client = _client(firm, NOTHING)
    firm.clients.append(client.id)


def new_job(firm: Firm) -> None:
    """A job begins, in one of the ways in which firms keep their jobs in QuickBooks."""
    if len(firm.sites) >= SITES_UNDER_WAY:
        job_closed(firm)
    ways = [way for way, _ in SHAPES if way.__name__ not in firm.left_out]
    begin = firm.dice.choices(ways, [weight for way, weight in SHAPES if way in ways])[0]
    firm.sites.append(begin(firm))


def own_job(firm: Firm) -> Site:
    """A job below the client, mapped to its project."""
    project, client = _declared(firm), _some_client(firm)
    alias = f"{FIRST[len(project) % len(FIRST)][:3].upper()} {project[-7:]}" if firm.likely(40) else None
    job = _job(firm, client, Note(project, project, Why.CUSTOMER, alias=alias))
    return _known_project(firm, Site(project, _root(firm, client), job.id, alias=alias))


def job_with_phases(firm: Firm) -> Site:
    """A job with sub-jobs, which nobody maps: they go with the job above them, two levels of them now and then."""
    site = own_job(firm)
    for _ in range(firm.dice.randint(1, 3)):
        above = firm.dice.choice([site.customer, *site.phases[:1]])
        site.phases.append(_job(firm, firm.book.customer(above), below(firm.note_of(above))).id)
    return site


def client_alone(firm: Firm) -> Site:
    """A client without jobs, mapped itself."""
    project = _declared(firm)
    client = _client(firm, Note(project, project, Why.CUSTOMER))
    return _known_project(firm, Site(project, client.id, client.id))


def mapped_client_with_jobs(firm: Firm) -> Site:
    """A client that is one project as a whole, whatever job a paper names."""
    project = _declared(firm)
    client = _client(firm, Note(project, project, Why.CUSTOMER))
    job = _job(firm, client, below(client.note or NOTHING))
    return _known_project(firm, Site(project, client.id, job.id))


def second_project(firm: Firm) -> Site:
    """A further project of a customer that is mapped to another one: only the reference number tells them apart."""
    first = firm.site(lambda site: site.project is not None and not site.needs_reference and not site.phases)
    project = _declared(firm)
    return _known_project(firm, Site(project, first.client, first.customer, needs_reference=True))


def service_job(firm: Firm) -> Site:
    """A small order of a service customer, whose papers go by their reference number alone."""
    project = _declared(firm)
    if not firm.served or firm.likely(15):
        firm.served.append(_client(firm, Note(None, None, Why.REFERENCE_ONLY)).id)
    served = firm.served[firm.dice.randrange(len(firm.served))]
    if not firm.book.customer(served).fields["Active"]:
        firm.served.remove(served)
        raise Impossible
    return _known_project(firm, Site(project, served, served, needs_reference=True))


def quickbooks_project(firm: Firm) -> Site:
    """A project made in QuickBooks, below a client that is mapped to a project of its own.

    Its papers name it in ProjectRef and, as the company's switch has it, the client or the project-customer besides.
    """
    client = firm.book.customer(firm.site(lambda site: firm.note_of(site.client).why is Why.CUSTOMER).client)
    project, names_project = _declared(firm), firm.company.switches.project_customer_in_ref
    is_linked, is_mapped = firm.likely(70), names_project and firm.likely(50)
    note = Note(project, project, Why.CUSTOMER) if is_mapped else below(client.note or NOTHING)
    linked = project if is_linked else None
    name = f"{firm.dice.choice(JOBS)} {firm.book.next_ids['customer']}"
    number = str(firm.book.next_ids["project"])
    job = firm.company.create_project(name, client.id, note._replace(linked=linked, quickbooks_project=number))
    site = Site(project, client.id, job.id if names_project else client.id, quickbooks_project=number)
    site.linked, site.needs_reference = linked, not is_linked and not is_mapped
    return _known_project(firm, site)


def outside_job(firm: Firm) -> Site:
    """A job that IntoAEC does not know, for a client of which nobody decided anything."""
    client = _client(firm, NOTHING)
    job = _job(firm, client, NOTHING) if firm.likely(50) else client
    return Site(None, client.id, job.id)


SHAPES: tuple[tuple[Callable[[Firm], Site], int], ...] = (
    (own_job, 34),
    (job_with_phases, 12),
    (client_alone, 10),
    (mapped_client_with_jobs, 8),
    (second_project, 8),
    (service_job, 8),
    (quickbooks_project, 12),
    (outside_job, 8),
)


def job_closed(firm: Firm) -> None:
    """A job is done: nobody bills it any more."""
    firm.closed.append(firm.sites.pop(firm.dice.randrange(len(firm.sites))))


def phase_added(firm: Firm) -> None:
    """A job under way gets a further phase."""
    site = firm.site(
        lambda one: (
            one.project is not None and not one.needs_reference and len(one.phases) < 4 and not one.quickbooks_project
        )
    )
    above = firm.book.customer(site.customer)
    site.phases.append(_job(firm, above, below(firm.note_of(above.id))).id)


def customer_renamed(firm: Firm) -> None:
    """A customer is called otherwise; nothing in the books moves."""
    site = firm.site()
    customer = firm.book.customer(firm.dice.choice((site.customer, site.customer, site.client)))
    name = str(customer.fields["DisplayName"]).split(" /")[0]
    firm.update(customer, {"DisplayName": f"{name} /{firm.dice.randint(2, 9999)}"})


def address_changed(firm: Firm) -> None:
    """A client moves to another street."""
    client = firm.book.customer(firm.site().client)
    firm.update(client, {"BillAddr": _address(firm)})


def customer_retired(firm: Firm) -> None:
    """The customer of a finished job is made inactive; QuickBooks writes off what it still owes."""
    if not firm.closed:
        raise Impossible
    site = firm.closed[firm.dice.randrange(len(firm.closed))]
    customer = firm.book.customer(site.customer)
    in_use = any(site.customer in (one.customer, one.client) for one in firm.sites)
    if in_use or firm.book.customers.children.get(customer.id) or not customer.fields["Active"]:
        raise Impossible
    firm.update(customer, {"Active": False})
    firm.retired.append(customer.id)


def customer_active_again(firm: Firm) -> None:
    """An inactive customer is needed once more."""
    if not firm.retired:
        raise Impossible
    customer = firm.book.customer(firm.retired.popleft())
    firm.update(customer, {"Active": True})


def duplicate_made(firm: Firm) -> None:
    """Somebody makes a customer that is there already, and bills it; nobody decides about the new one."""
    site = firm.site(lambda one: one.project is not None and not firm.book.customers.children.get(one.customer))
    customer = firm.book.customer(site.customer)
    body = {
        "DisplayName": f"{_name(firm)} {firm.book.next_ids['customer']}",
        "CurrencyRef": dict(customer.fields["CurrencyRef"]),
    }
    if site.quickbooks_project is not None:
        raise Impossible
    note = Note(site.project, None, Why.NOT_MAPPED, "hasty")
    firm.duplicates.append((firm.create(Kind.CUSTOMER, body, note).id, site))


def duplicates_merged(firm: Firm) -> None:
    """The double is merged into the customer it should have been; its papers follow."""
    if not firm.duplicates:
        raise Impossible
    gone, site = firm.duplicates.popleft()
    if not firm.book.customer(site.customer).fields["Active"]:
        raise Impossible
    kept = firm.note_of(site.customer)
    moved = [record for record in firm.book.documents_of.get(gone, ()) if record.note is not None]
    with firm.noting([(record, _moved(record.note or NOTHING, kept)) for record in moved]):
        firm.company.merge(site.customer, gone)


def _moved(note: Note, customer: Note) -> Note:
    """What is known of a paper whose customer became another one."""
    return known(customer, note.intended, note.writer, note.named, note.linked)


def _declared(firm: Firm) -> str:
    """The id of a project that IntoAEC is about to declare."""
    return f"PRJ-{firm.number + 1:02d}-{len(firm.company.projects) + 1:04d}"


def _known_project(firm: Firm, site: Site) -> Site:
    """IntoAEC's catalogue has the project."""
    customer = firm.book.customer(site.customer)
    name = f"{customer.fields['DisplayName']}"
    firm.company.projects.append(Project(str(site.project), name, site.customer))
    return site


def _some_client(firm: Firm) -> Record:
    """A client to work for: one that is known or, now and then, somebody new."""
    if firm.clients and firm.likely(80):
        found = firm.book.customer(firm.clients[firm.dice.randrange(len(firm.clients))])
        if found.fields["Active"]:
            return found
    client = _client(firm, NOTHING)
    firm.clients.append(client.id)
    return client


def _client(firm: Firm, note: Note) -> Record:
    number = firm.book.next_ids["customer"]
    name = _name(firm)
    body = {
        **{"DisplayName": f"{name} {number}", "CompanyName": name, "BillAddr": _address(firm)},
        "PrimaryEmailAddr": {"Address": f"ap{number}@client.example"},
    }
    if firm.book.multicurrency:
        body["CurrencyRef"] = {"value": firm.dice.choice(CURRENCIES)}
    return firm.create(Kind.CUSTOMER, body, note)


def _job(firm: Firm, parent: Record, note: Note) -> Record:
    body: dict[str, Any] = {
        **{"DisplayName": f"{firm.dice.choice(JOBS)} {firm.book.next_ids['customer']}", "Job": True},
        **{"CompanyName": parent.fields.get("CompanyName", ""), "BillWithParent": True},
        **{"ParentRef": {"value": parent.id}, "CurrencyRef": dict(parent.fields["CurrencyRef"])},
    }
    return firm.create(Kind.CUSTOMER, body, note)


def _root(firm: Firm, customer: Record) -> str:
    return [customer, *firm.book.customers.ancestors(customer.id)][-1].id


def _name(firm: Firm) -> str:
    return f"{firm.dice.choice(FIRST)} {firm.dice.choice(SECOND)}"


def _address(firm: Firm) -> dict[str, Any]:
    street = f"{firm.dice.randint(1, 990)} {firm.dice.choice(FIRST)} St"
    return {
        "Line1": street,
        "City": "Oakland",
        "CountrySubDivisionCode": "CA",
        "PostalCode": f"946{firm.dice.randint(1, 20):02d}",
    }
