# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenMRS: what centres feel, and what it runs on."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    PHASES,
    YES_OR_NO,
    Query,
    Row,
    at_least,
    at_most,
    limit,
    lines,
    made,
    none_at_all,
    stat,
    states,
)
from roles.grafana.dashboards.usage import memory, processor, room


def openmrs() -> dashboard.Dashboard:
    """Return the dashboard."""
    slow = limit("OpenMRSSlow")
    return made(
        "plateforme-openmrs",
        "OpenMRS : réponse, serveurs et ressources",
        "Ce que les centres ressentent, puis les trois parties d'OpenMRS : passerelle nginx, pages (frontend) et serveur (backend).",
        Row(
            "Ce que les centres ressentent",
            [
                stat(
                    "OpenMRS répond",
                    "Sonde de la session, à travers toute la chaîne.",
                    'min(probe_success{job="blackbox-openmrs", probe="session"})',
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                    span=6,
                ),
                stat(
                    "Temps de réponse",
                    "Moyenne sur cinq minutes de la sonde la plus lente ; seuil de l'alerte OpenMRSSlow.",
                    'max(avg_over_time(probe_duration_seconds{job="blackbox-openmrs"}[5m]))',
                    unit="suffix: s",
                    decimals=2,
                    steps=at_most(slow),
                    span=6,
                ),
                stat(
                    "Serveurs prêts",
                    "Pods openmrs-backend prêts ; sans aucun, les pages s'ouvrent et restent vides.",
                    'max(kube_statefulset_status_replicas_ready{statefulset="openmrs-backend"})',
                    unit="none",
                    steps=at_least(1),
                    span=6,
                ),
                stat(
                    "Redémarrages du serveur en 24 h",
                    "Chaque redémarrage déconnecte toutes les personnes qui travaillent.",
                    'sum(increase(kube_pod_container_status_restarts_total{pod=~"openmrs-backend-.+", container="backend"}[1d]))',
                    unit="none",
                    steps=none_at_all("orange"),
                    span=6,
                ),
                lines(
                    "Temps de réponse des sondes",
                    "Par page demandée ; la ligne est le seuil de l'alerte OpenMRSSlow.",
                    Query('max by (probe) (probe_duration_seconds{job="blackbox-openmrs"})', "{{probe}}"),
                    unit="s",
                    steps=at_most(slow),
                ),
                lines(
                    "Où passe le temps de la session",
                    "Étapes de la requête ; l'attente de la réponse est le temps qu'OpenMRS et la base de données prennent.",
                    Query(
                        'max by (phase) (probe_http_duration_seconds{job="blackbox-openmrs", probe="session"})',
                        "{{phase}}",
                    ),
                    unit="s",
                    stacked=True,
                    names=PHASES,
                ),
            ],
        ),
        Row(
            "La machine Java du serveur",
            [
                lines(
                    "Mémoire Java, part du maximum",
                    "La ligne est le seuil de l'alerte OpenMRSHeapAlmostUsed, qui ne compte que ce qui reste pris après un nettoyage.",
                    Query(
                        'sum by (pod) (jvm_memory_used_bytes{job="openmrs-backend", area="heap"}) / '
                        'sum by (pod) (jvm_memory_max_bytes{job="openmrs-backend", area="heap"})',
                        "{{pod}} en ce moment",
                    ),
                    Query(
                        'max by (pod) (jvm_memory_pool_collection_used_bytes{job="openmrs-backend", pool=~".*(Old|Tenured) Gen"}) / '
                        'max by (pod) (jvm_memory_pool_collection_max_bytes{job="openmrs-backend", pool=~".*(Old|Tenured) Gen"})',
                        "{{pod}} après nettoyage",
                    ),
                    unit="percentunit",
                    most=1,
                    steps=at_most(limit("OpenMRSHeapAlmostUsed")),
                ),
                lines(
                    "Temps passé à libérer de la mémoire",
                    "Part du temps ; la ligne est le seuil de l'alerte OpenMRSCollectsTooMuch.",
                    Query(
                        'sum by (pod) (rate(jvm_gc_collection_seconds_sum{job="openmrs-backend"}[$__rate_interval]))',
                        "{{pod}}",
                    ),
                    unit="percentunit",
                    steps=at_most(limit("OpenMRSCollectsTooMuch")),
                ),
                lines(
                    "Tâches en cours",
                    "Fils d'exécution ; ceux qui s'attendent l'un l'autre ne finissent jamais (alerte OpenMRSThreadsDeadlocked).",
                    Query('max by (pod) (jvm_threads_current{job="openmrs-backend"})', "{{pod}}"),
                    Query('max by (pod) (jvm_threads_deadlocked{job="openmrs-backend"})', "{{pod}} bloquées"),
                    unit="none",
                ),
                lines(
                    "Mémoire Java hors du tas",
                    "Classes, code compilé et tampons : ce qui s'ajoute au maximum du tas dans la limite du conteneur.",
                    Query('sum by (pod) (jvm_memory_used_bytes{job="openmrs-backend", area="nonheap"})', "{{pod}}"),
                    Query('sum by (pod) (jvm_buffer_pool_used_bytes{job="openmrs-backend"})', "{{pod}} tampons"),
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "Les serveurs",
            [
                states(
                    "Parties d'OpenMRS dans le temps",
                    "En service : au moins un pod reçoit des requêtes.",
                    Query(
                        'max by (deployment) (kube_deployment_status_replicas_available{deployment=~"openmrs-(frontend|gateway)"}) > bool 0',
                        "{{deployment}}",
                    ),
                    Query(
                        'max by (statefulset) (kube_statefulset_status_replicas_ready{statefulset="openmrs-backend"}) > bool 0',
                        "{{statefulset}}",
                    ),
                    texts={0: ("En panne", "red"), 1: ("En service", "green")},
                    span=24,
                    height=5,
                ),
                processor(
                    "openmrs", "Cœurs utilisés. Le serveur en prend beaucoup au démarrage et lors des recherches."
                ),
                memory(
                    "openmrs",
                    "Mémoire que le noyau ne peut pas reprendre ; au seuil de l'alerte, l'arrêt (OOM) est proche.",
                ),
                room(
                    "openmrs",
                    "Place sur le disque des pièces jointes",
                    "Part encore libre du volume d'openmrs-backend ; seuils des alertes VolumeAlmostFull et VolumeFull.",
                ),
                lines(
                    "Trafic réseau d'OpenMRS",
                    "Octets reçus et envoyés par seconde, tous pods de l'espace openmrs.",
                    Query(
                        'sum(rate(container_network_receive_bytes_total{namespace="openmrs"}[$__rate_interval]))',
                        "Reçus",
                    ),
                    Query(
                        'sum(rate(container_network_transmit_bytes_total{namespace="openmrs"}[$__rate_interval]))',
                        "Envoyés",
                    ),
                    unit="Bps",
                ),
            ],
        ),
    )
