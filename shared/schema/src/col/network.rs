//! network_activity 4001: flows and connections, and the TLS handshake seen in them.

pub use super::endpoint::*;

columns! {
    from super::AFTER_ENDPOINTS;
    BYTES_IN "bytes_in" Int64 "traffic.bytes_in" "bytes from responder to initiator";
    BYTES_OUT "bytes_out" Int64 "traffic.bytes_out" "bytes from initiator to responder";
    PACKETS_IN "packets_in" Int64 "traffic.packets_in" "packets from responder to initiator";
    PACKETS_OUT "packets_out" Int64 "traffic.packets_out" "packets from initiator to responder";
    DURATION_US "duration_us" Int64 "duration" "length of the connection, microseconds";
    TCP_FLAGS "tcp_flags" Int32 "connection_info.tcp_flags" "all TCP flags seen, as bits";
    STATE "state" Keyword "status_code" "how the connection ended, in the words of the source: SF, S0, REJ";
    APP "app" Keyword "app_protocol_name" "application protocol, lower case";
    SAMPLE_RATE "sample_rate" Int64 "unmapped.atalaya.sample_rate" "one packet in this many was seen; counts are not scaled";
    SNI "sni" Keyword "tls.sni" "server name asked for";
    TLS_VERSION "tls_version" Keyword "tls.version" "protocol version agreed on";
    CIPHER "cipher" Keyword "tls.cipher" "cipher suite agreed on";
    JA3 "ja3" Keyword "tls.ja3_hash.value" "JA3 fingerprint of the client";
    JA4 "ja4" Keyword "ja4_fingerprint_list[0].value" "JA4 fingerprint of the client";
    CERT_SHA256 "cert_sha256" Keyword "tls.certificate.fingerprints[0].value" "SHA-256 of the server's certificate, hexadecimal";
    CERT_SUBJECT "cert_subject" Keyword "tls.certificate.subject" "subject of the server's certificate";
    CERT_ISSUER "cert_issuer" Keyword "tls.certificate.issuer" "issuer of the server's certificate";
    CERT_NOT_AFTER "cert_not_after" Time "tls.certificate.expiration_time" "when the server's certificate ends";
}
