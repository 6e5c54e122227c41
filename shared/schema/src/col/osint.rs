//! osint_inventory_info 5021: indicators.

columns! {
    from super::AFTER_ENVELOPE;
    INDICATOR_TYPE_ID "indicator_type_id" Int32 "osint[0].type_id" "1 IP address, 2 domain, 3 host name, 4 hash, 5 URL, 6 user agent, 7 certificate, 9 email address, 10 vulnerability";
    INDICATOR "indicator" Text "osint[0].value" "the indicator itself; a network in CIDR form";
    MALWARE "malware" Keyword "osint[0].malware[0].name" "malware it belongs to";
    CAMPAIGN "campaign" Keyword "osint[0].campaign.name" "campaign it belongs to";
    FIRST_SEEN "first_seen" Time "osint[0].created_time" "when it was first seen";
    LAST_SEEN "last_seen" Time "osint[0].modified_time" "when it was last seen";
    EXPIRES "expires" Time "osint[0].expiration_time" "when it stops to count";
    REFERENCE "reference" Text "osint[0].src_url" "where to read more";
}
