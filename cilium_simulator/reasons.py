"""How drop reasons are spelled: pkg/monitor/api/drop.go and api/v1/flow/flow.proto of Cilium."""

from __future__ import annotations

HUBBLE = {
    "Invalid source mac": "INVALID_SOURCE_MAC",
    "Invalid source ip": "INVALID_SOURCE_IP",
    "Policy denied": "POLICY_DENIED",
    "Invalid packet": "INVALID_PACKET_DROPPED",
    "CT: Truncated or invalid header": "CT_TRUNCATED_OR_INVALID_HEADER",
    # 136: one number, two meanings; likewise 161.
    "Fragmentation needed": "CT_MISSING_TCP_ACK_FLAG",
    "NAT 46/64 not enabled": "FAILED_TO_INSERT_INTO_PROXYMAP",
    "CT: Unknown L4 protocol": "CT_UNKNOWN_L4_PROTOCOL",
    "Unsupported L3 protocol": "UNSUPPORTED_L3_PROTOCOL",
    "Error retrieving tunnel key": "ERROR_RETRIEVING_TUNNEL_KEY",
    "Missed tail call": "MISSED_TAIL_CALL",
    "Stale or unroutable IP": "STALE_OR_UNROUTABLE_IP",
    "No matching local container found": "NO_MATCHING_LOCAL_CONTAINER_FOUND",
    "CT: Map insertion failed": "CT_MAP_INSERTION_FAILED",
    "Service backend not found": "SERVICE_BACKEND_NOT_FOUND",
    "No tunnel/encapsulation endpoint (datapath BUG!)": "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT",
    "FIB lookup failed": "FIB_LOOKUP_FAILED",
    "No mapping for NAT masquerade": "NO_MAPPING_FOR_NAT_MASQUERADE",
    "Invalid identity": "INVALID_IDENTITY",
    "Policy denied by denylist": "POLICY_DENY",
    "VLAN traffic disallowed by VLAN filter": "VLAN_FILTERED",
    "Authentication required": "AUTH_REQUIRED",
    "Local host is unreachable": "LOCAL_HOST_IS_UNREACHABLE",
    # since Cilium 1.15
    "Traffic is unencrypted": "UNENCRYPTED_TRAFFIC",
}
