module audioprothese.platform/lab/federated-login

go 1.27.3
