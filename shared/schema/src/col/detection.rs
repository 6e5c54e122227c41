//! detection_finding 2004: alerts, one row per message about an incident.

columns! {
    from super::AFTER_ENVELOPE;
    ALERT_ID "alert_id" Id "finding_info.uid" "the incident: hash of tenant, rule, group key and opening event";
    ALERT_VERSION "alert_version" Int32 "unmapped.atalaya.alert_version" "1 when the incident was opened, then counting up; the highest is how it stands";
    RULE_ID "rule_id" Keyword "finding_info.analytic.uid" "the rule";
    RULE_REV "rule_rev" Keyword "finding_info.analytic.version" "hash of the rule's text";
    RULE_AUTHOR "rule_author" Keyword "unmapped.atalaya.rule_author" "who wrote the rule";
    TITLE "title" Keyword "finding_info.title" "the rule's title";
    LEVEL "level" Keyword "unmapped.atalaya.level" "informational, low, medium, high or critical";
    GROUP_KEY "group_key" Keyword "unmapped.atalaya.group_key" "what the events were grouped by, `column=value` with commas between";
    WINDOW_START "window_start" Time "start_time" "time of the first event";
    WINDOW_END "window_end" Time "end_time" "time of the last event so far";
    EVENT_COUNT "event_count" Int64 "finding_info.related_events_count" "events counted so far";
    EVIDENCE "evidence" IdList "finding_info.related_events[].uid" "some of the events: the first and the newest ones";
    ATTACK_IDS "attack_ids" TextList "finding_info.attacks[].technique.uid" "ATT&CK techniques";
    OBSERVED "observed" Float64 "unmapped.atalaya.observed" "value observed";
    THRESHOLD "threshold" Float64 "unmapped.atalaya.threshold" "value it crossed";
    RETROACTIVE "retroactive" Bool "unmapped.atalaya.retroactive" "whether it was found by looking back";
}
