"""One public sentence for every code. Texts of other systems are never repeated: they may hold anything."""

MESSAGES: dict[str, str] = {
    # Genesys Cloud's own password codes
    "password.empty": "The new password cannot be empty.",
    "password.too.short": "The new password is too short.",
    "password.not.enough.letters": "The new password does not have enough letters.",
    "password.not.enough.lowercase": "The new password does not have enough lower case letters.",
    "password.not.enough.uppercase": "The new password does not have enough upper case letters.",
    "password.not.enough.digits": "The new password does not have enough digits.",
    "password.not.enough.specials": "The new password does not have enough special characters.",
    "password.reused": "The new password was used too recently.",
    "password.too.young": "The password cannot be changed yet: the one before is too young.",
    "password.compromised": "The new password is on the target's list of compromised passwords.",
    "invalid.password": "The new password does not meet the target's policy.",
    "invalid.new.password": "The new password does not meet the target's policy.",
    # ours, about a password
    "password.too.long": "The new password is too long.",
    "password.control.character": "The new password contains a control character.",
    "password.not.unicode": "The new password is not valid Unicode text.",
    "password.not.opaque.string": "The new password contains a character that RFC 8265 does not allow.",
    "password.contains.username": "The new password contains the user name.",
    # about users
    "user.unknown": "The target has no such user.",
    "user.ambiguous": "The target has more than one such user.",
    "user.inactive": "The user is inactive at the target and is not re-activated.",
    "user.changed": "The user found under this reference is no longer the one it was.",
    "user.protected": "This user's password is not changed through this gateway, or not by this source.",
    "not.found": "There is no such user or group.",
    "general.resource.not.found": "There is no such user or group.",
    "missing.division.permission": "The OAuth client may not change users of this user's division.",
    "missing.any.division.permissions": "The OAuth client may not change users of this user's division.",
    # about the target as a whole
    "missing.any.permissions": "The OAuth client lacks a permission that the target demands.",
    "missing.permissions": "The OAuth client lacks a permission that the target demands.",
    "invalid_client": "The target does not accept the OAuth client id and secret.",
    "bad.credentials": "The target does not accept the access token.",
    "ip.not.authorized": "The target does not accept requests from this address.",
    "not.authorized": "The target does not allow this request.",
    "token.refused": "The token endpoint refused to give an access token.",
    "token.throttled": "The token endpoint asked to wait.",
    "token.unavailable": "The token endpoint could not be reached or failed.",
    "too.many.requests": "The target asked to wait.",
    "target.unreachable": "The target could not be reached.",
    "target.unavailable": "The target failed or is overloaded.",
    "target.answer.unusable": "The target gave an answer that cannot be understood.",
    "target.busy": "The target's limit leaves no room for this request now.",
    "target.redirect": "The target answered with a redirect, which is never followed.",
    "version.conflict": "The user was changed by somebody else at the same moment.",
    "no.answer": "The request was sent and no answer came; its outcome is found out before the next try.",
    # about the change
    "user.lookup": "No active user has this name yet; the inactive ones are being looked through.",
    "user.busy": "An earlier write to this user may still be executed; this one waits.",
    "intent.stale": "The write could not start at once and is prepared anew.",
    "dry.run": "This org is in a dry run: the user was found, and nothing was written.",
    "password.unchanged": "It is the password that was last delivered.",
    "outcome.unknown": "An answer was lost, and the target's state does not show whether the write happened.",
    "attempts.exhausted": "It was tried as often as is allowed.",
    "parked": "The change waits for a person to look at it.",
    "held": "Parked at start, as asked by --hold.",
    "expired": "The change is older than its time to live.",
    "superseded": "A newer change of the same user was accepted.",
    "org.paused": "Delivery to this org is paused, and the change waits.",
    "cancelled": "An operator cancelled the change.",
    "key.missing": "The key that opens this change is not in the key ring.",
    "seal.broken": "The sealed password does not open: it was altered.",
    "refused": "The target refused the change and gave no code.",
    "invalidValue": "The target refused a value.",
}


def message_for(code: str) -> str:
    """The public sentence of ``code``; a general one for a code that is not ours and not known."""
    return MESSAGES.get(code, "The target answered with this code.")
