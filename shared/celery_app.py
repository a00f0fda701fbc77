"""Celery over RabbitMQ as Weir uses it."""

from datetime import timedelta

from celery import Celery

from shared.job_queues import QUEUE, UPKEEP_QUEUE

#: The task that runs a job: it gets a job's id and reads the rest from the row.
TASK = "weir.run_job"

#: After its deadline a job is told to stop, this much later its worker is killed.
GRACE = timedelta(seconds=30)


def celery_app(amqp_url: str, job_deadline: timedelta) -> Celery:
    """Configure Celery for RabbitMQ: two quorum queues, confirmed sends, late acks, and no result backend."""
    app = Celery("weir", broker=amqp_url)
    app.conf.update(
        task_default_queue=QUEUE,
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
        task_routes={TASK: {"queue": QUEUE}, "weir.*": {"queue": UPKEEP_QUEUE}},
        task_create_missing_queue_type="quorum",
        task_create_missing_queue_exchange_type="topic",
        broker_native_delayed_delivery_queue_type="classic",
        broker_transport_options={"confirm_publish": True},
        broker_connection_timeout=2,
        broker_pool_acquire_timeout=2,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_soft_shutdown_timeout=10,
        worker_hijack_root_logger=False,
        task_soft_time_limit=job_deadline.total_seconds(),
        task_time_limit=(job_deadline + GRACE).total_seconds(),
        timezone="UTC",
    )
    return app
