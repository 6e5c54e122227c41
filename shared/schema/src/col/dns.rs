//! dns_activity 4003: queries and answers.

pub use super::endpoint::*;

columns! {
    from super::AFTER_ENDPOINTS;
    QUERY "query" Keyword "query.hostname" "name asked for";
    QUERY_DOMAIN "query_domain" Keyword "unmapped.atalaya.query_domain" "registered domain of that name";
    QUERY_TYPE "query_type" Keyword "query.type" "record type asked for: A, AAAA, TXT";
    RCODE "rcode" Keyword "rcode" "response code by name: NOERROR, NXDOMAIN";
    ANSWERS "answers" TextList "answers[].rdata" "answers in the order given";
    TTLS "ttls" Int64List "answers[].ttl" "their times to live, seconds, in the same order";
    RTT_US "rtt_us" Int64 "duration" "time from query to answer, microseconds";
    FLAGS "flags" Keyword "unmapped.atalaya.flags" "header flags that were set, in order, spaces between: AA TC RD RA";
}
