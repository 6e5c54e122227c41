//! Whatever is asked, no row of another tenant comes out, and nothing is said of it.

use super::world::World;

/// Ways to ask for rows, with the table's name at `{t}` and columns that tell tenants apart.
const SHAPES: [&str; 22] = [
    "select tenant, unmapped['secret'] from {t}",
    "select * from {t} where tenant = 'globex'",
    "select * from {t} where tenant <> 'acme' or true",
    "select * from {t} where 1 = 1 or tenant in ('globex', 'acme')",
    "select tenant from {t} union all select tenant from {t} where tenant = 'globex'",
    "select tenant from {t} union select 'acme' from {t}",
    "select tenant from {t} except select 'acme'",
    "select a.tenant, b.tenant from {t} a join {t} b on a.tenant = b.tenant limit 500",
    "select a.tenant, b.tenant from {t} a cross join {t} b limit 500",
    "select b.tenant from {t} a full join (select * from {t} where tenant = 'globex') b on a.event_id = b.event_id",
    "select (select max(tenant) from {t}), (select min(tenant) from {t})",
    "select tenant from (select * from {t}) x where exists (select 1 from {t} y where y.tenant <> x.tenant)",
    "select tenant from {t} where tenant in (select tenant from {t})",
    "with dns_activity as (select * from {t}) select tenant, unmapped['secret'] from dns_activity",
    "with t as (select * from {t} where tenant = 'globex') select tenant from t union all select tenant from {t}",
    "with recursive r as (select tenant, 1 n from {t} union all select tenant, n + 1 from r where n < 2) select * from r",
    "select tenant, count(*) over (partition by tenant) from {t}",
    "select distinct tenant, first_value(unmapped['secret']) over (order by tenant desc) from {t}",
    "select array_agg(distinct tenant), array_agg(distinct unmapped['secret']) from {t}",
    "select tenant, count(*) from {t} group by grouping sets ((tenant), ()) having tenant is not null",
    "select max(tenant), min(unmapped['secret']) from {t} where day is not null",
    "select tenant from {t} order by tenant desc limit 5",
];

const NAMES: [&str; 4] = ["dns_activity", "public.dns_activity", "atalaya.public.dns_activity", "\"dns_activity\""];

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_tenant_never_come_out() {
    let world = World::new().await;
    let mut answered = 0;
    for shape in SHAPES {
        for name in NAMES {
            let sql = shape.replace("{t}", name);
            let rows = world.rows("acme", &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            answered += rows.len();
            let leaked = rows.iter().flatten().find(|value| value.contains("globex"));
            assert!(leaked.is_none(), "{sql}: {leaked:?}");
        }
    }
    assert!(answered > 1_000, "the probes do find own rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenant_sees_its_own_rows_whole() {
    let world = World::new().await;
    for (name, other) in [("acme", "globex"), ("globex", "acme")] {
        let own = world.of(name).len().to_string();
        for name_of_table in NAMES {
            let sql = format!("select count(*), count(distinct tenant), min(tenant) from {name_of_table}");
            assert_eq!(world.rows(name, &sql).await.unwrap(), [[own.as_str(), "1", name]], "{other} is not seen");
        }
    }
    let sql = "select count(*) from dns_activity";
    assert_eq!(world.rows("nobody", sql).await.unwrap(), [["0"]]);
}

/// A tenant's name that is SQL is still a name.
#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_a_value_not_text() {
    let world = World::new().await;
    for name in ["acme-", "a", "acm", "acme0"] {
        assert_eq!(world.rows(name, "select count(*) from dns_activity").await.unwrap(), [["0"]], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn information_says_nothing_but_the_tables() {
    let world = World::new().await;
    let tables = world.rows("acme", "show tables").await.unwrap();
    assert!(tables.iter().any(|row| row.contains(&"dns_activity".to_owned())), "{tables:?}");
    let sql = "select table_name from information_schema.tables where table_schema = 'public'";
    assert_eq!(world.rows("acme", sql).await.unwrap().len(), 9);
    let sql = "select count(*) from information_schema.columns where table_name = 'dns_activity'";
    assert_ne!(world.rows("acme", sql).await.unwrap(), [["0"]]);
    assert!(!world.rows("acme", "show columns from dns_activity").await.unwrap().is_empty());
    assert!(!world.rows("acme", "describe dns_activity").await.unwrap().is_empty());
    for hidden in ["select * from information_schema.df_settings", "show all", "show datafusion.execution.batch_size"] {
        assert!(world.rows("acme", hidden).await.is_err(), "{hidden}");
    }
    for sql in [
        "select * from other.public.dns_activity",
        "select * from atalaya.secret.dns_activity",
        "select * from nothing",
    ] {
        assert!(world.rows("acme", sql).await.is_err(), "{sql}");
    }
    // Plans name files, never values of rows that are not the tenant's.
    let plan = world.rows("acme", "explain select * from dns_activity where query = 'x'").await.unwrap();
    assert!(plan.iter().flatten().all(|text| !text.contains("globex")), "{plan:?}");
}
