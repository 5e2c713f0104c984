"""The example trainer: a service that is told to retrain, and brings a better version or says why there is none.

`app` hears webhooks, `diary` keeps each episode on disk, `worker` takes episodes through their steps, `steps` does each
of these by the control API, `rows` reads what there is to train on, `judging` says whether the new version is better,
and `retraining` is the one file that knows the model. Who trains another model writes that file anew.
"""
