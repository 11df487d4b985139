"""What a text loses before a person shows it to anybody, and what it keeps."""

import josepy as jose
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configs import parse

from certbotless.config.redact import Redactor
from certbotless.world.acme import keys

KEY_ID = "LTAI5tPlantedCanary1"
SECRET = "planted/Secret+30 characters="
TOKEN = "CAIS" + "planted.Token_" * 20
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
REDACT = Redactor([SECRET, TOKEN, EAB_KEY], [KEY_ID])


def pem() -> str:
    """Return a fresh key as a file holds it."""
    return keys.key_to_pem(keys.new_key()).decode()


@pytest.mark.parametrize("secret", [SECRET, TOKEN, EAB_KEY])
@pytest.mark.parametrize("around", ["{}", "error={!r}", "a{}b", "Signature={}&x=1", "{{'hmac_key': '{}'}}"])
def test_a_secret_of_the_configuration_is_gone(secret: str, around: str) -> None:
    text = REDACT(around.format(secret))
    assert secret not in text
    assert "***" in text


def test_a_secret_is_gone_in_the_form_that_a_query_gives_it() -> None:
    quoted = "planted%2FSecret%2B30%20characters%3D"
    assert REDACT(f"key {quoted} used") == "key *** used"
    assert REDACT(f"string to sign {quoted.replace('%', '%25')}") == "string to sign ***"


def test_four_letters_of_an_access_key_stay() -> None:
    """So that a person knows which one it was; also of one that is not in the configuration."""
    assert REDACT(f"AccessKeyId {KEY_ID} is not enabled") == "AccessKeyId LTAI*** is not enabled"
    assert REDACT("LTAI5tSomebodyElse") == "LTAI***"
    assert REDACT("STS.NUSomebodyElse") == "STS.***"


def test_a_value_that_is_id_and_secret_is_a_secret() -> None:
    assert Redactor(["PlantedCanary"], ["PlantedCanary"])("PlantedCanary") == "***"


def test_a_secret_that_begins_with_another_leaves_no_rest() -> None:
    assert Redactor(["planted", "planted-and-longer"])("planted-and-longer, planted") == "***, ***"


def test_what_is_too_short_for_a_secret_is_left() -> None:
    """It would stand in every second word."""
    assert Redactor(["a", "test"])("a test") == "a test"
    assert Redactor([])("text") == "text"


def test_a_key_in_pem_is_gone_whole_or_cut_or_escaped() -> None:
    key = pem()
    assert REDACT(f"before\n{key}after") == "before\n***\nafter"
    for text in (key[:120], repr(key), f"{key}{key}", key.replace("\n", "\\n")):
        cleaned = REDACT(f"key {text}")
        assert key.splitlines()[1][:30] not in cleaned
        assert cleaned.startswith("key ")


def test_a_signed_url_loses_its_query() -> None:
    url = f"https://alidns.aliyuncs.com/?AccessKeyId={KEY_ID}&Signature=abc%3D&SecurityToken={TOKEN}"
    assert REDACT(f"GET {url} failed") == "GET https://alidns.aliyuncs.com/?*** failed"
    assert REDACT("with url: /?Format=JSON&Signature=abc (Caused by") == "with url: /?*** (Caused by"
    assert REDACT("Signature=abc%3D&x") == "Signature=***&x"
    assert REDACT("https://user:word@ca.example.com/dir") == "https://***@ca.example.com/dir"


def test_a_signed_request_of_acme_is_gone() -> None:
    """In the form that RFC 8555 sends (flattened JSON), and compact."""
    key = jose.JWKEC(key=keys.new_key())
    signed = jose.JWS.sign(b'{"csr": "planted"}', key=key, alg=jose.ES256, include_jwk=False, protect={"alg"})
    flat = signed.to_compact().decode()
    protected, payload, signature = flat.split(".")
    assert REDACT(f"sent {flat}") == "sent ***"
    text = f'{{"protected": "{protected}", "payload": "{payload}", "signature": "{signature}"}}'
    cleaned = REDACT(text)
    for part in (protected, payload, signature):
        assert part not in cleaned


def test_a_key_authorization_is_gone_and_what_dns_shows_is_kept() -> None:
    token, thumbprint = "DGyRejmCefe7v4NfDGDKfA", "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
    assert REDACT(f"answered {token}.{thumbprint}") == "answered ***"
    assert REDACT(f"TXT {thumbprint}") == f"TXT {thumbprint}"


@pytest.mark.parametrize(
    "text",
    [
        "acme.request method=POST url=https://acme-v02.api.letsencrypt.org/acme/authz/123/456 status=200",
        "alidns.call action=AddDomainRecord code=none request_id=6856BCF6-11D6-4D7E-AC53-FD579933522B",
        f"certificate.published sha256={'ab' * 32} not_after=2027-02-22T13:35:38Z",
        "record.due domain=devbox.sweetlove.top reason=10.0.0.1 -> 10.79.40.213",
        "order.failed error=is it right? see docs/configuration.md",
        "Site(domain='a.example.com', names=('*.a.example.com',), ttl=600)",
    ],
)
def test_what_is_no_secret_is_kept(text: str) -> None:
    assert REDACT(text) == text


@given(st.text(min_size=6, max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_secret_is_and_wherever_it_stands_it_is_gone(secret: str, before: str, after: str) -> None:
    cleaned = Redactor([secret])(f"{before}{secret}{after}")
    assert secret not in cleaned or secret in "***" or secret in f"{before}***{after}"


# --- the URLs of who is told --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("discord://certbotless@123456789012/PlantedToken0123", "certbotless on box: deploy failed"),
        ("slack://certbotless@T1JJ3T3L2/A1BRTD4JD/PlantedToken0123", "certbotless status devbox.example.com"),
        ("jsons://hooks/devbox-registry", "the container 'devbox-registry' is not there"),
        ("mailtos://registry.example.com:pw@mail.example.com", "registry.example.com: it is pw"),
    ],
)
def test_a_word_that_stands_in_a_url_too_is_kept(url: str, text: str) -> None:
    """A robot may be called as the program is, and a path as a container."""
    config = f"aliyun: {{access_key_id: id, access_key_secret: PlantedCanary}}\nnotify: ['{url}']\n"
    redact = Redactor.of(parse(f"{config}sites: [{{domain: a.example.com}}]\n"))
    assert redact(text) == text
    assert redact(f"no answer from {url}, PlantedCanary") == "no answer from ***, ***"


def test_all_secrets_of_a_configuration_go_and_one_that_cannot_be_read_hinders_nothing() -> None:
    text = (
        "aliyun: {access_key_id: LTAI5tPlantedCanary, access_key_secret: 'file:/nowhere/at/all'}\n"
        "acme: {email: you@example.com}\n"
        "notify: ['json://user:PlantedPassword@hooks.example.com/PlantedToken0123']\n"
        "sites: [{domain: a.example.com}]\n"
    )
    url = "json://user:PlantedPassword@hooks.example.com/PlantedToken0123"
    told = Redactor.of(parse(text))(f"LTAI5tPlantedCanary you@example.com {url} a.example.com")
    assert told == "LTAI*** *** *** a.example.com"
