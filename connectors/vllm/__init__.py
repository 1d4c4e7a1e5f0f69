"""The store as a KV connector of vLLM. `register` is the plugin that makes its name known there."""


def register() -> None:
    """Lets `--kv-transfer-config '{"kv_connector": "KVStoreConnector", ...}'` find the connector. Safe to repeat."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    if "KVStoreConnector" not in KVConnectorFactory._registry:
        KVConnectorFactory.register_connector("KVStoreConnector", "connectors.vllm.connector", "KVStoreConnector")
