//! The two endpoints of a connection, and how they talk: columns of every class with a network side.

columns! {
    from super::AFTER_ENVELOPE;
    SRC_IP "src_ip" Keyword "src_endpoint.ip" "address of the initiator, canonical text";
    SRC_PORT "src_port" Int32 "src_endpoint.port" "port of the initiator";
    SRC_HOST "src_host" Keyword "src_endpoint.hostname" "host name of the initiator";
    SRC_DOMAIN "src_domain" Keyword "src_endpoint.domain" "registered domain of the initiator";
    SRC_COUNTRY "src_country" Keyword "src_endpoint.location.country" "country of the initiator, ISO 3166 alpha-2";
    SRC_CITY "src_city" Keyword "src_endpoint.location.city" "city of the initiator";
    SRC_LAT "src_lat" Float64 "src_endpoint.location.lat" "latitude of the initiator, degrees";
    SRC_LON "src_lon" Float64 "src_endpoint.location.long" "longitude of the initiator, degrees";
    SRC_ASN "src_asn" Int64 "src_endpoint.autonomous_system.number" "AS number of the initiator";
    SRC_AS_ORG "src_as_org" Keyword "src_endpoint.autonomous_system.name" "organisation of that AS";
    SRC_OWNER "src_owner" Keyword "src_endpoint.owner.org.name" "tenant that owns the initiator's address or domain";
    DST_IP "dst_ip" Keyword "dst_endpoint.ip" "address of the responder, canonical text";
    DST_PORT "dst_port" Int32 "dst_endpoint.port" "port of the responder";
    DST_HOST "dst_host" Keyword "dst_endpoint.hostname" "host name of the responder";
    DST_DOMAIN "dst_domain" Keyword "dst_endpoint.domain" "registered domain of the responder";
    DST_COUNTRY "dst_country" Keyword "dst_endpoint.location.country" "country of the responder, ISO 3166 alpha-2";
    DST_CITY "dst_city" Keyword "dst_endpoint.location.city" "city of the responder";
    DST_LAT "dst_lat" Float64 "dst_endpoint.location.lat" "latitude of the responder, degrees";
    DST_LON "dst_lon" Float64 "dst_endpoint.location.long" "longitude of the responder, degrees";
    DST_ASN "dst_asn" Int64 "dst_endpoint.autonomous_system.number" "AS number of the responder";
    DST_AS_ORG "dst_as_org" Keyword "dst_endpoint.autonomous_system.name" "organisation of that AS";
    DST_OWNER "dst_owner" Keyword "dst_endpoint.owner.org.name" "tenant that owns the responder's address or domain";
    PROTO "proto" Keyword "connection_info.protocol_name" "transport protocol, lower case: tcp, udp, icmp";
    DIRECTION_ID "direction_id" Int32 "connection_info.direction_id" "1 inbound, 2 outbound, 3 lateral, 4 local";
}
