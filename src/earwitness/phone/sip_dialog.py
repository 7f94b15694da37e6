"""A SIP dialog: its parties, targets and route set. Source: RFC 3261 12."""

from __future__ import annotations

from dataclasses import dataclass

from aiosipua import SipRequest, SipResponse, parse_address, stringify_uri

from earwitness.netns.host import SocketAddress
from earwitness.phone.sip_transactions import ServerTransaction, SipTransactions
from earwitness.phone.sip_wire import endpoint_of


@dataclass
class Dialog:
    """The state that each end keeps of an established call."""

    call_id: str
    local: str
    """From header of our requests, with our tag."""
    remote: str
    """To header of our requests, with the far end's tag."""
    remote_target: str
    """URI of the far end's Contact."""
    route_set: tuple[str, ...]
    local_sequence: int
    remote_sequence: int = -1
    invite_sequence: int = 0
    """CSeq number of the INVITE that ACK must carry."""
    refresh: ServerTransaction | None = None
    """A re-INVITE of the far end that awaits its ACK."""

    @staticmethod
    def of_caller(invite: SipRequest, success: SipResponse) -> Dialog:
        """Make it from our INVITE and its 2xx: Contact is the target, reversed Record-Route the route (12.1.2)."""
        contacts = success.contact
        sequence = invite.cseq.seq if invite.cseq else 0
        return Dialog(
            call_id=invite.headers.get_first("Call-ID") or "",
            local=invite.headers.get_first("From") or "",
            remote=success.headers.get_first("To") or "",
            remote_target=stringify_uri(contacts[0].uri) if contacts else invite.uri,
            route_set=tuple(reversed(success.headers.get("Record-Route"))),
            local_sequence=sequence,
            invite_sequence=sequence,
        )

    @staticmethod
    def of_callee(invite: SipRequest, local_tag: str) -> Dialog:
        """Make it from an INVITE that we answer: Record-Route in order is the route (12.1.1)."""
        contacts = invite.contact
        caller = invite.headers.get_first("From") or ""
        sequence = invite.cseq.seq if invite.cseq else 0
        return Dialog(
            call_id=invite.headers.get_first("Call-ID") or "",
            local=f"{invite.headers.get_first('To')};tag={local_tag}",
            remote=caller,
            remote_target=stringify_uri(contacts[0].uri if contacts else parse_address(caller).uri),
            route_set=tuple(invite.headers.get("Record-Route")),
            local_sequence=0,
            remote_sequence=sequence,
            invite_sequence=sequence,
        )

    def holds(self, received: SipRequest) -> bool:
        """Whether a request belongs to this dialog (Call-ID and both tags)."""
        to, sender = received.to_addr, received.from_addr
        return (
            received.headers.get_first("Call-ID") == self.call_id
            and to is not None
            and to.tag == parse_address(self.local).tag
            and sender is not None
            and sender.tag == parse_address(self.remote).tag
        )

    def request(self, layer: SipTransactions, method: str) -> tuple[SipRequest, SocketAddress]:
        """Make a request within the dialog; return it and its destination (12.2.1.1). ACK takes the INVITE's number."""
        if method == "ACK":
            sequence = self.invite_sequence
        else:
            self.local_sequence += 1
            sequence = self.local_sequence
        routes, uri = list(self.route_set), self.remote_target
        if routes:
            first = parse_address(routes[0]).uri
            next_hop = stringify_uri(first)
            if "lr" not in first.params:  # a strict router (RFC 2543) expects itself in the request URI
                routes, uri = [*routes[1:], f"<{uri}>"], next_hop
        else:
            next_hop = uri
        made = layer.new_request(method, uri)
        for route in routes:
            made.headers.append("Route", route)
        made.headers.set_single("From", self.local)
        made.headers.set_single("To", self.remote)
        made.headers.set_single("Call-ID", self.call_id)
        made.headers.set_single("CSeq", f"{sequence} {method}")
        return made, self._endpoint(layer, next_hop)

    def check(self, layer: SipTransactions) -> None:
        """Raise `OSError` if requests of this dialog would go to an address that this phone does not send to."""
        first = parse_address(self.route_set[0]).uri if self.route_set else None
        self._endpoint(layer, self.remote_target if first is None else stringify_uri(first))

    @staticmethod
    def _endpoint(layer: SipTransactions, uri: str) -> SocketAddress:
        # If the peers are given, a host name cannot be one of them, and resolving it would block the phone.
        numeric = layer.reach is not None and bool(layer.reach.peers)
        return layer.may_send_to(endpoint_of(uri, numeric=numeric))

    def acknowledge(self, layer: SipTransactions) -> None:
        """Send the ACK of the 2xx, with its own branch and no transaction (13.2.2.4)."""
        ack, target = self.request(layer, "ACK")
        layer.transmit(bytes(ack), target)


def refresh_target(dialog: Dialog, message: SipRequest | SipResponse, layer: SipTransactions) -> None:
    """Adopt a new Contact from a re-INVITE (12.2). Raises `OSError` as `Dialog.check`."""
    if message.contact:
        before, dialog.remote_target = dialog.remote_target, stringify_uri(message.contact[0].uri)
        try:
            dialog.check(layer)
        except OSError:
            dialog.remote_target = before
            raise
