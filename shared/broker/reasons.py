"""What the broker's reasons for closing a connection or a channel mean for us."""

from shared.errors import BrokerUnavailable, Misconfigured, WeirError


def meaning(code: int | None, text: str | None) -> WeirError:
    """Say what the broker's reason for closing means for us: come again, or have the operator act."""
    match code:
        case 403 | 530:
            return Misconfigured(f"the broker refuses our user, its permissions or its virtual host ({text})")
        case 404 | 406:
            return Misconfigured(f"the broker's topology is not as designed ({text})")
        case _:
            return BrokerUnavailable(f"the broker closed ({code} {text})")
