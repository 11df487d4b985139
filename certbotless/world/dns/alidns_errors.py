"""What the Alidns API refuses: what each means, and what to do.

Source: Alidns API 2015-01-09, error codes; what people report of them is beside each."""

from ...base.errors import RecordConflict, ZoneNotFound
from ...base.words import N_
from ..credentials.errors import ABOUT_THE_KEY, ApiRefusal

# The account has no such zone; it may be somebody else's.
NO_SUCH_ZONE = frozenset({"IncorrectDomainUser", "InvalidDomainName.NoExist"})

# What the RAM user's policy does not allow. Other codes with "Forbidden" are about the zone itself.
NOT_ALLOWED = frozenset({"Forbidden", "Forbidden.RAM", "NoPermission"})

# What says nothing of the zone or the account, but of one record and what else is at its name.
OF_ONE_RECORD = frozenset(
    {
        "DomainRecordConflict",
        "DomainRecordDuplicate",
        "DomainRecordLocked",
        "DomainRecordNotBelongToUser",
        "QuotaExceeded.ARecord",
        "SubDomainInvalid.Value",
    }
)

# Start of a code -> what to do; the longer of two starts comes first.
HINTS = {
    **ABOUT_THE_KEY,
    "DomainRecordDuplicate": N_("delete the other record with this value in the Alidns console"),
    "DomainRecordLocked": N_("unlock the record in the Alidns console"),
    "DomainRecordConflict": N_("delete the conflicting record in the Alidns console"),
    "DomainRecordNotBelongToUser": N_("check in the Alidns console whether the record still exists"),
    "InvalidDomainName": N_("correct sites[].zone"),
    "SubDomainInvalid.RR": N_(
        "choose another name: beyond ASCII the service accepts only Chinese characters"
    ),
    "QuotaExceeded.TTL": N_("set sites[].ttl to what the zone's plan allows"),
    "QuotaExceeded": N_("delete records that are no longer needed, or take a larger plan"),
    "SubDomainInvalid.Value": N_("correct sites[].address: the service takes no such value"),
    "": N_("see the code in Aliyun's reference of this action"),
}


class ZoneForbidden(ZoneNotFound):
    """The account may have the zone; the key may not read one that could hold the name."""


class RecordRefusal(ApiRefusal, RecordConflict):
    """One that is about this record alone: a TXT record beside it may be written."""
