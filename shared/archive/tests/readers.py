"""Reads a table of the archive as other engines do, and prints what it finds as one JSON object per engine."""

import glob
import json
import os
import sys

import deltalake
import duckdb
import duckdb_extension_delta

SUMS = """
select count(*) as rows, sum(evt_seq) as sequences, sum(src_port) as ports, sum(rtt_us) as rtt,
       count(distinct query) as queries, count(distinct event_id) as ids, count(distinct src_ip) as sources,
       min(tenant) as first_tenant, max(tenant) as last_tenant, count(distinct day) as days, min(policy) as policy
from {table} {where}
"""
NESTED_DUCKDB = "select sum(len(answers)) as answers, count(unmapped['row']) as rows_named from {table}"
NESTED_DELTA = "select sum(array_length(answers)) as answers, count(unmapped['row']) as rows_named from {table}"


def rows(columns, values):
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in zip(columns, values)}


def by_deltalake(path, where):
    table = deltalake.DeltaTable(path)
    reader = deltalake.QueryBuilder().register("t", table)
    found = {"version": table.version(), "transactions": table.transaction_version("7.0")}
    for sql in (SUMS.format(table="t", where=where), NESTED_DELTA.format(table="t")):
        batch = reader.execute(sql).read_all()
        found |= {name: batch.column(name)[0].as_py() for name in batch.schema.names}
    return found


def by_duckdb(path, where):
    extension = glob.glob(os.path.join(os.path.dirname(duckdb_extension_delta.__file__), "**/*.duckdb_extension"), recursive=True)
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"load '{extension[0]}'")
    found = {}
    for sql in (SUMS, NESTED_DUCKDB):
        cursor = connection.execute(sql.format(table=f"delta_scan('{path}')", where=where))
        found |= rows([column[0] for column in cursor.description], cursor.fetchone())
    return found


path, where = sys.argv[1], sys.argv[2]
for engine, read in (("deltalake", by_deltalake), ("duckdb", by_duckdb)):
    print(json.dumps({"engine": engine} | read(path, where), default=int))
