"""Python services of two trust domains, through PyPI's `spiffe`.

federated.py issue          a JWT-SVID for the audience `across`
federated.py accept TOKEN   as a service of another trust domain: the bundles of both are there, and the token
                            verifies against its own and at the agent
"""
import sys

from spiffe import JwtSource, JwtSvid, WorkloadApiClient

AUDIENCE = "across"


def issue():
    with JwtSource(timeout_in_seconds=30) as source:
        print(source.fetch_svid(audience={AUDIENCE}).token)


def accept(token):
    with WorkloadApiClient() as client:
        own = client.fetch_x509_context().default_svid.spiffe_id.trust_domain
        x509_bundles, jwt_bundles = client.fetch_x509_bundles(), client.fetch_jwt_bundles()
        svid = JwtSvid.parse_insecure(token, {AUDIENCE})
        theirs = svid.spiffe_id.trust_domain
        assert theirs != own, theirs
        for trust_domain in (own, theirs):
            assert x509_bundles.get_bundle_for_trust_domain(trust_domain).x509_authorities, trust_domain
            assert jwt_bundles.get_bundle_for_trust_domain(trust_domain).jwt_authorities, trust_domain
        JwtSvid.parse_and_validate(token, jwt_bundles.get_bundle_for_trust_domain(theirs), {AUDIENCE})
        assert client.validate_jwt_svid(token, AUDIENCE).spiffe_id == svid.spiffe_id
        print(f"py-spiffe: {svid.spiffe_id} believed by a workload of {own}")


if sys.argv[1] == "issue":
    issue()
else:
    accept(sys.argv[2])
