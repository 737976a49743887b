"""A Python service's view of the Workload API, through PyPI's `spiffe`.

Follows an X509Source through rotations and checks each SVID against the bundle that came with it, then
fetches, validates and refuses JWT-SVIDs. Usage: workload.py ROTATIONS
"""
import sys
import threading

from cryptography.hazmat.primitives.asymmetric import ec
from spiffe import JwtSource, JwtSvid, WorkloadApiClient, X509Source

ROTATIONS = int(sys.argv[1])
TIMEOUT_S = 120


def check_chain(svid, bundle):
    """Leaf to intermediate to an authority of the bundle, by signature."""
    chain = svid.cert_chain
    for child, parent in zip(chain, chain[1:]):
        child.verify_directly_issued_by(parent)
    last = chain[-1]
    roots = [root for root in bundle.x509_authorities if root.subject == last.issuer]
    for root in roots:
        try:
            last.verify_directly_issued_by(root)
            return
        except Exception:
            continue
    raise AssertionError(f"{svid.spiffe_id}: no authority of the bundle issued {last.issuer}")


def follow_rotations():
    seen, done = [], threading.Event()
    source = X509Source(timeout_in_seconds=30)

    def updated():
        svid = source.svid
        check_chain(svid, source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain))
        key = svid.private_key.public_key().public_numbers()
        assert isinstance(svid.private_key, ec.EllipticCurvePrivateKey)
        assert key == svid.leaf.public_key().public_numbers(), "key and certificate do not belong together"
        if svid.leaf.serial_number not in seen:
            seen.append(svid.leaf.serial_number)
        if len(seen) > ROTATIONS:
            done.set()

    source.subscribe_for_updates(updated)
    updated()
    assert done.wait(TIMEOUT_S), f"{len(seen) - 1} rotations in {TIMEOUT_S} s"
    spiffe_id = source.svid.spiffe_id
    source.close()
    return spiffe_id


def jwt(spiffe_id):
    with JwtSource(timeout_in_seconds=30) as source:
        svid = source.fetch_svid(audience={"audience"})
        assert svid.spiffe_id == spiffe_id, svid.spiffe_id
        bundle = source.get_bundle_for_trust_domain(spiffe_id.trust_domain)
        JwtSvid.parse_and_validate(svid.token, bundle, {"audience"})
        with WorkloadApiClient() as client:
            client.validate_jwt_svid(svid.token, "audience")
            try:
                client.validate_jwt_svid(svid.token, "nobody")
            except Exception as refused:
                assert "nobody" in str(refused), refused
            else:
                raise AssertionError("a token for another audience was taken")
            contexts = client.fetch_x509_context()
            assert contexts.default_svid.spiffe_id == spiffe_id
            assert client.fetch_x509_bundles().get_bundle_for_trust_domain(spiffe_id.trust_domain)
            assert client.fetch_jwt_bundles().get_bundle_for_trust_domain(spiffe_id.trust_domain)


name = follow_rotations()
jwt(name)
print(f"py-spiffe: {name} followed through {ROTATIONS} rotations, JWT fetched and validated")
