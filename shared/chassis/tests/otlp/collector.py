"""An OTLP collector: appends each request as a line of JSON to a file, and refuses those without the credential."""

import sys
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

PATH, CREDENTIAL, CERTIFICATE, KEY = sys.argv[1:]


def take(response):
    def export(self, request, context):
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") != CREDENTIAL:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no credential")
        with open(PATH, "a") as file:
            file.write(MessageToJson(request, indent=None) + "\n")
        return response

    return export


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    Export = take(trace_service_pb2.ExportTraceServiceResponse())


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    Export = take(logs_service_pb2.ExportLogsServiceResponse())


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    Export = take(metrics_service_pb2.ExportMetricsServiceResponse())


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
credentials = grpc.ssl_server_credentials([(open(KEY, "rb").read(), open(CERTIFICATE, "rb").read())])
port = server.add_secure_port("localhost:0", credentials)
server.start()
print(port, flush=True)
sys.stdin.read()  # ends with whoever started it
