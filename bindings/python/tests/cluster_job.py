"""Embeds a folder of Parquet on a Ray cluster of two nodes, with Daft or with Ray Data: cluster_job.py ENGINE IN OUT [STORE]"""

import os
import sys


def main(engine, source, out, store=None):
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})
    cluster.add_node(num_cpus=3)
    ray.init(address=cluster.address, log_to_driver=False)
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    how = {"device": "cpu", "precision": "int8"}
    if engine == "ray":
        from taskvec.integrations.ray import EmbedBatches

        rows = ray.data.read_parquet(source)
        rows = rows.map_batches(EmbedBatches, fn_constructor_kwargs=how, concurrency=2, num_cpus=1, batch_size=1024)
        rows.write_parquet(out)
    else:
        import daft
        from daft.functions import embed_text
        from taskvec.integrations.daft import provider, remove_unfinished

        daft.set_runner_ray(cluster.address)
        checkpoint = None
        if store:
            # One worker for the keys, and half a CPU: more would wait for CPUs that the models have.
            settings = daft.KeyFilteringSettings(num_workers=1, cpus_per_worker=0.5)
            store = daft.CheckpointStore(f"file://{store}")
            remove_unfinished(store, out)
            checkpoint = daft.CheckpointConfig(store=store, on="id", settings=settings)
        frame = daft.read_parquet(f"{source}/*.parquet", checkpoint=checkpoint)
        vector = embed_text(frame["text"], provider=provider(**how), concurrency=2)
        frame.with_column("embedding", vector).write_parquet(out, write_mode="append")
    ray.shutdown()
    cluster.shutdown()
    print("ended", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
