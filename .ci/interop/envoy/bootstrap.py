"""Bootstrap configs for a pair of Envoys that speak mutual TLS with what the agent gives them by SDS.

A caller speaks plain HTTP to the front; the front opens a new TLS connection to the back for each
request; the back answers by itself and tells which certificate it was shown.
"""
DOMAIN = "spiffe://example.org"


def _sds(name):
    return {
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "agent"}}],
            },
        },
    }


def _tls(kind, certificate, peer, **more):
    """A TLS context that shows `certificate` and takes `peer` alone."""
    san = {"san_type": "URI", "matcher": {"exact": f"{DOMAIN}/{peer}"}}
    common = {
        "tls_certificate_sds_secret_configs": [_sds(certificate)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [san]},
            "validation_context_sds_secret_config": _sds("ROOTCA"),
        },
    }
    typed = {
        "@type": f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}",
        "common_tls_context": common,
        **more,
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port, route, **chain):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "all",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "all", "address": _address(port), "filter_chains": [{"filters": filters, **chain}]}


def _cluster(name, address, http, **more):
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": http,
        "common_http_protocol_options": {"max_requests_per_connection": 1} if more else {},
    }
    return {
        "name": name,
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        **more,
    }


def _bootstrap(name, agent_socket, admin_port, listener, clusters, metadata):
    agent = _cluster("agent", {"pipe": {"path": agent_socket}}, {"http2_protocol_options": {}})
    return {
        "node": {"id": name, "cluster": "interop", "metadata": metadata},
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [agent, *clusters]},
    }


def front(agent_socket, admin_port, port, back_port):
    """Takes bundles as plain PEM, as an Envoy does whose operator switched the SPIFFE validator off."""
    tls = _tls("UpstreamTlsContext", f"{DOMAIN}/envoy-front", "envoy-back")
    back = _cluster("back", _address(back_port), {"http_protocol_options": {}}, transport_socket=tls)
    listener = _listener(port, {"route": {"cluster": "back"}})
    return _bootstrap("front", agent_socket, admin_port, listener, [back], {"disable_spiffe_cert_validation": True})


def back(agent_socket, admin_port, port):
    tls = _tls("DownstreamTlsContext", "default", "envoy-front", require_client_certificate=True)
    shown = [
        {"header": {"key": "x-peer", "value": "%DOWNSTREAM_PEER_URI_SAN%"}},
        {"header": {"key": "x-peer-serial", "value": "%DOWNSTREAM_PEER_SERIAL%"}},
    ]
    answer = {"direct_response": {"status": 200, "body": {"inline_string": "hello"}}, "response_headers_to_add": shown}
    listener = _listener(port, answer, transport_socket=tls)
    return _bootstrap("back", agent_socket, admin_port, listener, [], {})
