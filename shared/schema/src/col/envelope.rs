//! The envelope: what every event has.

columns! {
    from 0;
    EVENT_ID "event_id" Id "metadata.uid" "identity: hash of the origin, or of the natural key";
    TENANT "tenant" Keyword "metadata.tenant_uid" "whose it is; set by the platform, never by the sender";
    TIME "time" Time "time" "when it happened";
    INGEST_TIME "ingest_time" Time "metadata.logged_time" "when it was received";
    CLASS_UID "class_uid" Int32 "class_uid" "the OCSF class";
    ACTIVITY_ID "activity_id" Int32 "activity_id" "what was done, numbered by the class";
    SEVERITY_ID "severity_id" Int32 "severity_id" "0 unknown, 1 informational to 5 critical, 6 fatal";
    STATUS_ID "status_id" Int32 "status_id" "1 success, 2 failure";
    SOURCE "source" Keyword "metadata.source" "the configured source it came from";
    VENDOR "vendor" Keyword "metadata.product.vendor_name" "maker of the product that reported it";
    PRODUCT "product" Keyword "metadata.product.name" "product that reported it";
    LOG_NAME "log_name" Keyword "metadata.log_name" "the log within the product, such as `dns` or `Security`";
    PARSER_VERSION "parser_version" Keyword "metadata.transformation_info_list[0].uid" "mapping and version that made the row";
    CONFIDENCE_ID "confidence_id" Int32 "confidence_id" "1 low, 2 medium, 3 high";
    TLP "tlp" Keyword "unmapped.atalaya.tlp" "traffic light protocol: CLEAR, GREEN, AMBER, AMBER STRICT or RED";
    TIME_QUALITY "time_quality" Keyword "unmapped.atalaya.time_quality" "why `time` is not to be believed; null if it is";
    RAW_REF "raw_ref" Text "metadata.original_event_uid" "the RAW message and the record in it";
    MESSAGE "message" Text "message" "one sentence for people";
    UNMAPPED "unmapped" TextMap "unmapped" "original fields without a column, size-capped; `_truncated` counts what was left out";
}
